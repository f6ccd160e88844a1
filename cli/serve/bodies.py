"""The bodies of requests and answers."""

from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Struct

from heed.cli.serve.refusal import Refusal

CHOICES = 16  # texts that a request may ask for, of each prompt; prompts of a request
Count = Annotated[int, Meta(ge=1)]
Choices = Annotated[int, Meta(ge=1, le=CHOICES)]
Zero = Annotated[float, Meta(ge=0, le=0, description="Only 0 is supported.")]
Nothing = Annotated[dict[str, float], Meta(max_length=0, description="Not supported.")]
Stops = str | Annotated[list[str], Meta(max_length=CHOICES)]


class TranslateBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A request of LibreTranslate's interface."""

    q: str | list[str]
    source: str
    target: str
    format: Literal["text", "html"] = "text"
    alternatives: Annotated[int, Meta(ge=0, le=CHOICES)] = 0
    api_key: str | None = None


class Translated(Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Its answer; lists for a list."""

    translated_text: str | list[str]
    alternatives: list[str | list[str]] | None = None


class Language(Struct, kw_only=True):
    """A source language, and the target languages that it can be translated to."""

    code: str
    name: str
    targets: list[str]


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """Settings of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What OpenAI's completions and chat completions have in common, and heed's own settings."""

    model: str
    max_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Choices | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stops | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Nothing | None = None
    user: str | None = None
    top_k: Count | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram: Count | None = None


class CompletionBody(SamplingBody, kw_only=True, forbid_unknown_fields=True):
    """A request to continue texts."""

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=CHOICES)]
    echo: bool | None = None
    best_of: Literal[1] | None = None
    logprobs: None = None
    suffix: None = None


class TextPart(Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Struct, kw_only=True):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """Its text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatBody(SamplingBody, kw_only=True, forbid_unknown_fields=True):
    """A request to answer the last message of a conversation."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: Literal[False] | None = None
    response_format: Annotated[dict[str, Any], Meta(description="Only {'type': 'text'} is supported.")] | None = None


class Usage(Struct, kw_only=True):
    """Numbers of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(Struct, kw_only=True, omit_defaults=True):
    """A text, or a piece of one."""

    index: int
    text: str | None = None
    message: dict[str, str] | None = None
    delta: dict[str, str] | None = None
    finish_reason: Literal["stop", "length"] | msgspec.UnsetType | None = msgspec.UNSET
    logprobs: msgspec.UnsetType | None = msgspec.UNSET


class Completion(Struct, kw_only=True):
    """An answer of OpenAI's interface, or an event of its stream."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET


class ModelCard(Struct, kw_only=True):
    """A model that is served."""

    id: str
    created: int
    task: str
    object: str = "model"
    owned_by: str = "heed"


class ModelList(Struct, kw_only=True):
    """The models that are served."""

    data: list[ModelCard]
    object: str = "list"


class EmbeddingBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A request for the vectors of texts."""

    model: str
    input: str | Annotated[list[str], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None
    user: str | None = None


class Embedding(Struct, kw_only=True):
    """The vector of a text; as base64, its numbers are little-endian float32."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(Struct, kw_only=True):
    """Numbers of tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, kw_only=True):
    """The vectors of texts."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: str = "list"


Body = TypeVar("Body", bound=Struct)


def read_body(content: bytes, content_type: str, kind: type[Body]) -> Body:
    """The body of a request, in JSON or as a form.

    Raises:
        Refusal: It is none, or not of this kind.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        if media_type == "application/x-www-form-urlencoded":
            return msgspec.convert(_form(content), kind, strict=False)
        if media_type in ("application/json", ""):
            return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:  # those of msgspec are ValueErrors
        hint = "" if media_type != "application/x-www-form-urlencoded" else "; JSON needs Content-Type application/json"
        raise Refusal(400, f"the body cannot be read: {error}{hint}") from None
    raise Refusal(415, f"{media_type!r} is not supported; send application/json")


def _form(content: bytes) -> dict[str, str | list[str]]:
    fields = parse_qs(content.decode("utf-8"), keep_blank_values=True, errors="strict")
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}
