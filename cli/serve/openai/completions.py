"""OpenAI's interface: /v1/models, /v1/completions and /v1/chat/completions."""

import asyncio
import contextlib
import dataclasses
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from heed.cli.serve.bodies import (
    ChatBody,
    Choice,
    Completion,
    CompletionBody,
    ModelCard,
    ModelList,
    SamplingBody,
    Usage,
)
from heed.cli.serve.gate import event, json_response
from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedGenerator, ServedModels
from heed.cli.serve.openai.chat import chat_prompt, template_of
from heed.cli.serve.refusal import Refusal
from heed.models.errors import DataError, ModelError

if TYPE_CHECKING:
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generation

MAX_TOKENS = 16  # of a completion, unless asked for others, as OpenAI has it
SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "no_repeat_ngram", "seed", "n")
REASONS = {"end": "stop", "stop": "stop", "length": "length", "context": "length"}  # why a text ended


@dataclasses.dataclass(frozen=True)
class Job:
    """Texts to generate, and how they are written."""

    model: ServedGenerator
    prompts: list[str]
    config: "SampleConfig"
    is_chat: bool
    echo: bool = False


class Completions:
    """Continues texts and answers messages.

    Args:
        models: Of the server.
        limits: Of requests.
        metrics: Where tokens are counted.
    """

    def __init__(self, models: ServedModels, limits: Limits, metrics: Metrics) -> None:
        self._models, self._limits, self._metrics = models, limits, metrics

    async def models(self, _: Request) -> Response:
        """GET /v1/models."""
        return json_response(msgspec.json.encode(ModelList(data=[self._card(name) for name in self._models.by_name])))

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{name}."""
        self._models.named(name := request.path_params["name"])
        return json_response(msgspec.json.encode(self._card(name)))

    async def complete(self, body: CompletionBody) -> ASGIApp:
        """POST /v1/completions."""
        model = self._generator(body)
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        config = self._config(body, body.max_tokens or MAX_TOKENS, len(prompts))
        return await self._answer(Job(model, prompts, config, is_chat=False, echo=bool(body.echo)), body)

    async def chat(self, body: ChatBody) -> ASGIApp:
        """POST /v1/chat/completions."""
        model = self._generator(body)
        if body.response_format not in (None, {"type": "text"}):
            raise Refusal(400, "response_format must be {'type': 'text'}")
        wanted = body.max_completion_tokens or body.max_tokens
        config = self._config(body, wanted or max(1, self._limits.tokens // (body.n or 1)), 1)
        config = dataclasses.replace(config, stop=(*template_of(model.generator).stop, *config.stop))
        prompt = await asyncio.to_thread(chat_prompt, model.generator, body.messages, wanted)
        return await self._answer(Job(model, [prompt], config, is_chat=True), body)

    def _card(self, name: str) -> ModelCard:
        return ModelCard(id=name, created=self._models.created, task=self._models.by_name[name].task)

    def _generator(self, body: SamplingBody) -> ServedGenerator:
        model = self._models.named(body.model)
        if not isinstance(model, ServedGenerator):
            raise Refusal(400, f"{body.model!r} translates; use POST /translate, or a model that generates text")
        return model

    def _config(self, body: SamplingBody, max_tokens: int, n_prompts: int) -> "SampleConfig":
        """The settings of sampling."""
        from heed.models.decoding.sampling import SampleConfig

        n_tokens, limit = max_tokens * (body.n or 1) * n_prompts, self._limits.tokens
        if n_tokens > limit:
            raise Refusal(413, f"{n_tokens:,} tokens are asked for; ask for at most {limit:,} in all texts together")
        given = {name: value for name in SETTINGS if (value := getattr(body, name)) is not None}
        stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
        try:
            return SampleConfig(**given, max_tokens=max_tokens, stop=stop)
        except ModelError as error:
            raise Refusal(400, str(error)) from None

    async def _answer(self, job: Job, body: SamplingBody) -> ASGIApp:
        """The answer, whole or as a stream."""
        n_given = sum(await asyncio.to_thread(_counted, job))
        head = Completion(
            id=f"{'chatcmpl' if job.is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            object="chat.completion" if job.is_chat else "text_completion",
            created=int(time.time()),
            model=job.model.name,
            choices=[],
        )
        if body.stream:
            tells_usage = bool(body.stream_options and body.stream_options.include_usage)
            return EventStream(self._events(job, head, n_given, tells_usage=tells_usage))
        async with contextlib.aclosing(job.model.streams.pieces(job.prompts, job.config)) as pieces:
            found = [each async for each in pieces][-1]
        assert isinstance(found, list)
        texts = [generation for row in found for generation in row]
        head.choices, head.usage = _choices(job, texts), self._usage(job, n_given, texts)
        return json_response(msgspec.json.encode(head))

    async def _events(self, job: Job, head: Completion, n_given: int, *, tells_usage: bool) -> AsyncGenerator[bytes]:
        """The events of a stream."""
        head.object = "chat.completion.chunk" if job.is_chat else head.object
        texts: list[Generation] = []

        def chunk(choices: list[Choice]) -> bytes:
            head.choices = choices
            return event(msgspec.json.encode(head))

        yield chunk(_first(job))
        shown = [not job.is_chat] * job.config.n  # a space before an answer is not
        async with contextlib.aclosing(job.model.streams.pieces(job.prompts, job.config)) as pieces:
            async for each in pieces:
                if isinstance(each, list):
                    texts = [generation for row in each for generation in row]
                    break
                i, j, text = each
                text = text if shown[j] else text.lstrip()
                shown[j] = shown[j] or bool(text)
                if text:
                    yield chunk([_choice(job, i * job.config.n + j, text)])
        yield chunk([_choice(job, number, "", REASONS[each.ended]) for number, each in enumerate(texts)])
        usage = self._usage(job, n_given, texts)
        if tells_usage:
            head.usage = usage
            yield chunk([])
        yield event(b"[DONE]")

    def _usage(self, job: Job, n_given: int, texts: "Sequence[Generation]") -> Usage:
        n_generated = sum(len(each.tokens) for each in texts)
        self._metrics.tokens.labels(job.model.name).inc(n_generated)
        return Usage(prompt_tokens=n_given, completion_tokens=n_generated, total_tokens=n_given + n_generated)


class EventStream:
    """An answer that is sent as it is made (text/event-stream).

    Args:
        events: What is sent; closed when the client leaves.
    """

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        self._events = events

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with contextlib.aclosing(self._events) as events:
            async for each in events:
                await send({"type": "http.response.body", "body": each, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _counted(job: Job) -> list[int]:
    """Numbers of tokens of the prompts."""
    generator, found = job.model.generator, []
    for prompt in job.prompts:
        try:
            found.append(len(generator.encode(prompt)))
        except DataError as error:
            message = str(error).partition(";")[0]
            raise Refusal(400, f"{message}; shorten the prompt", "context_length_exceeded") from None
    return found


def _first(job: Job) -> list[Choice]:
    """The first event of a stream: who speaks, or the prompts."""
    if job.is_chat:
        return [
            Choice(index=i, delta={"role": "assistant", "content": ""}, finish_reason=None) for i in range(job.config.n)
        ]
    n = job.config.n
    return [_choice(job, i, job.prompts[i // n] if job.echo else "") for i in range(n * len(job.prompts))]


def _choice(job: Job, index: int, text: str, reason: Any = None) -> Choice:
    """A piece of a text."""
    if job.is_chat:
        return Choice(index=index, delta={"content": text} if text else {}, finish_reason=reason)
    return Choice(index=index, text=text, finish_reason=reason, logprobs=None)


def _choices(job: Job, texts: "Sequence[Generation]") -> list[Choice]:
    """Whole texts."""
    found = []
    for i, each in enumerate(texts):
        reason: Any = REASONS[each.ended]
        if job.is_chat:
            message = {"role": "assistant", "content": each.text.lstrip()}
            found.append(Choice(index=i, message=message, finish_reason=reason))
        else:
            text = job.prompts[i // job.config.n] * job.echo + each.text
            found.append(Choice(index=i, text=text, finish_reason=reason, logprobs=None))
    return found
