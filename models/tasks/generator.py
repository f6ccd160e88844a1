"""Text generation: from prompts to tokens, batches, samples or beam search, and back to text."""

import dataclasses
from collections.abc import Generator as Steps
from collections.abc import Iterator, Sequence
from itertools import count, cycle
from pathlib import Path

import numpy as np

from heed.models.arrays import BoolArray, FloatArray
from heed.models.decoding.batching import LEAVING, going_on, padded, place, plan_batches
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.decoding.drafts import Drafts
from heed.models.decoding.sampling import SampleConfig, choose, randoms, seeded
from heed.models.errors import DataError, ModelError
from heed.models.records import record
from heed.models.runtime.protocol import Network, State
from heed.models.runtime.states import States
from heed.models.system.processor import available_cores
from heed.models.tasks.model import Model
from heed.models.text.chat import ChatTemplate
from heed.models.text.stream import TextStream
from heed.models.tokenizers.protocol import PlainTokenizer

BATCH_SIZE = 16  # prompts continued together, at most
UNLIMITED = 1 << 15  # tokens of a text by a network that could read any number


@record(frozen=True)
class Generation:
    """A continuation of a prompt."""

    text: str  # without the stop string, if one ended it
    tokens: list[int]  # without the end token, but with those of the stop string
    log_prob: float  # of the tokens and, if the network ended the text, of the end token, in nats; before any filter
    ended: str  # "end": end token, "stop": stop string, "length": max_tokens, "context": the context is full


class Sample:
    """A continuation in progress.

    Args:
        prompt: Token ids of the prompt.
        room: Number of tokens that the network can predict after it.
        tokenizer: The model's.
        config: Sampling settings.
        random: The sample's random numbers.
    """

    def __init__(
        self, prompt: list[int], room: int, tokenizer: PlainTokenizer, config: SampleConfig, random: np.random.Generator
    ) -> None:
        self.tokens = list(prompt)  # the sample's tokens follow the prompt's
        self.ended: str | None = None  # see `Generation`; None: not ended
        self._log_prob, self._n_prompt, self._limit = 0.0, len(prompt), _limit(config.max_tokens, room)
        self._ends, self._config, self._random = tokenizer.ends, config, random
        self._stream = TextStream(tokenizer, config.stop)

    def extend(self, log_probs: FloatArray) -> str:
        """Choose the next token, given log-probabilities, (V,); return the text that is now certain."""
        token, (limit, limited_by) = choose(log_probs, self.tokens, self._config, self._random), self._limit
        self._log_prob += float(log_probs[token])
        if token in self._ends:
            self.ended = "end"
            return self._stream.close()
        self.tokens.append(token)
        text = self._stream.push(token)
        if self._stream.stopped:
            self.ended = "stop"
        elif len(self.tokens) - self._n_prompt == limit:
            self.ended = limited_by
            text += self._stream.close()
        return text

    @property
    def n_left(self) -> int:
        """The maximum number of tokens that may follow."""
        return self._limit[0] - (len(self.tokens) - self._n_prompt)

    @property
    def generation(self) -> Generation:
        """The result, once it has ended."""
        assert self.ended is not None
        return Generation(self._stream.text, self.tokens[self._n_prompt :], self._log_prob, self.ended)


class Generator(Model):
    """Continues prompts with a language model and its tokenizer.

    Args:
        network: In ONNX Runtime or in PyTorch.
        tokenizer: The model's.
        chat_template: Format of conversations; None: the model was not taught any.
    """

    def __init__(self, network: Network, tokenizer: PlainTokenizer, chat_template: ChatTemplate | None = None) -> None:
        self.chat_template, self.context = chat_template, network.context or UNLIMITED
        self.tokenizer, self._states = tokenizer, States(lambda: network)
        super().__init__(self._states)

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", threads: int | None = None) -> "Generator":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: CPU threads; None: as many as the cores that this process may use.

        Raises:
            ModelError: The bundle is damaged or of a later format, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle

        with Bundle.loading(path) as bundle:
            manifest, tokenizer = bundle.require("generate"), bundle.text_tokenizer()
            network = bundle.network(device=device, threads=threads or available_cores())
        return cls(network, tokenizer, manifest.chat_template)

    def prompt_room(self, max_tokens: int | None) -> int:
        """Maximum length of a prompt that leaves room for max_tokens, at most (and by default) half the context."""
        half = max(1, self.context // 2)
        return self.context - min(max_tokens or half, half)

    def encode(self, prompt: str, *, max_tokens: int | None = None, truncate: bool = False) -> list[int]:
        """The token ids of a prompt, including the beginning token.

        Args:
            prompt: Any text.
            max_tokens: Those of the continuation.
            truncate: Drop the beginning of a prompt that leaves less room than max_tokens, or than half the context.

        Raises:
            DataError: The prompt is longer than the context.
        """
        tokens = self.tokenizer.encode(prompt)
        if truncate:
            tokens = tokens[max(0, len(tokens) - self.prompt_room(max_tokens)) :]
        if len(tokens) >= self.context:
            raise DataError(
                f"the prompt has {len(tokens) + 1:,} tokens with its beginning token, but the model's context is "
                f"{self.context:,}; shorten the prompt, or let --truncate drop its beginning"
            )
        begins = self.tokenizer.starts_texts or not tokens
        return [self.tokenizer.bos_id] * begins + tokens

    def generate(
        self,
        prompts: Sequence[str],
        config: SampleConfig | None = None,
        *,
        truncate: bool = False,
        numbers: Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Generation]]:
        """Continue prompts.

        Args:
            prompts: Any texts.
            config: Sampling settings.
            truncate: See `encode`.
            numbers: Numbers of the prompts, which with the seed determine their random numbers; None: 0, 1, 2, …
            batch_size: Number of samples generated together.

        Returns:
            The samples of each prompt.

        Raises:
            DataError: A prompt is longer than the context.
        """
        pieces = self.stream_all(prompts, config, truncate=truncate, numbers=numbers, batch_size=batch_size)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                found: list[list[Generation]] = end.value
                return found

    def stream_all(
        self,
        prompts: Sequence[str],
        config: SampleConfig | None = None,
        *,
        truncate: bool = False,
        numbers: Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> "Steps[tuple[int, int, str], None, list[list[Generation]]]":
        """As `generate`, but yields each text as it becomes certain: number of its prompt, of its sample, and the text.

        A text may be empty. Leaving the loop, or `close()` of what is returned, ends the work.

        Raises:
            DataError: A prompt is longer than the context.
        """
        config = seeded(config or SampleConfig())
        ids = [self.encode(prompt, max_tokens=config.max_tokens, truncate=truncate) for prompt in prompts]
        samples = [self._samples(*row, config) for row in zip(ids, numbers or range(len(ids)), strict=True)]
        places = {sample: (i, j) for i, row in enumerate(samples) for j, sample in enumerate(row)}
        width = min(config.n, batch_size)  # more samples of a prompt are generated in several parts
        parts = [row[first : first + width] for row in samples for first in range(0, config.n, width)]
        for batch in plan_batches([len(part[0].tokens) for part in parts], batch_size // width):
            for sample, text in self._extend([parts[i] for i in batch]):
                yield *places[sample], text
        return [[sample.generation for sample in row] for row in samples]

    def stream(
        self, prompt: str, config: SampleConfig | None = None, *, truncate: bool = False, number: int = 0
    ) -> "Steps[str, None, Generation]":
        """Continue a prompt; yields the text as it is generated, in whole characters, and returns the result.

        Leaving the loop, or `close()` of what is returned, ends the work.

        Args:
            prompt: Any text.
            config: Sampling settings; only the first of several samples is generated.
            truncate: See `encode`.
            number: Number of the prompt; see `generate`.

        Raises:
            DataError: The prompt is longer than the context.
        """
        config = dataclasses.replace(seeded(config or SampleConfig()), n=1)
        ids = self.encode(prompt, max_tokens=config.max_tokens, truncate=truncate)
        (sample,) = self._samples(ids, number, config)
        for _, text in self._extend([[sample]]):
            if text:
                yield text
        return sample.generation

    def search(
        self,
        prompts: Sequence[str],
        config: DecodeConfig | None = None,
        *,
        n_best: int = 1,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Generation]]:
        """Find the most probable continuations of prompts by beam search, best first.

        Raises:
            DataError: A prompt is longer than the context.
            ModelError: There are more hypotheses than the context has tokens.
        """
        config = config or DecodeConfig()
        if config.beam_size > self.context:  # the operator for rotary positions counts them as one row
            raise ModelError(f"beam_size must be at most the model's context, {self.context:,}, not {config.beam_size}")
        ids = [self.encode(prompt, max_tokens=config.max_length, truncate=truncate) for prompt in prompts]
        # Without a length limit, a continuation may fill the context.
        bounded = dataclasses.replace(config, max_length=config.max_length or self.context)
        special = SpecialIds.of(self.tokenizer)
        found: dict[int, list[Generation]] = {}
        for batch in plan_batches([len(row) for row in ids], max(1, batch_size // config.beam_size)):
            begun = [ids[i] for i in batch]
            with self._states.borrow() as state:
                results = search(state, None, bounded, special, prompts=begun, n_best=n_best, context=self.context)
            for i, hypotheses in zip(batch, results, strict=True):
                limit, limited_by = _limit(config.max_length, self._room(ids[i]))
                found[i] = [
                    Generation(
                        self.tokenizer.decode(hypothesis.tokens),
                        hypothesis.tokens,
                        hypothesis.log_prob,
                        limited_by if len(hypothesis.tokens) == limit else "end",
                    )
                    for hypothesis in hypotheses
                ]
        return [found[i] for i in range(len(ids))]

    def _room(self, prompt: list[int]) -> int:
        """The number of tokens the network can predict after a prompt; it does not read the last one."""
        return self.context + 1 - len(prompt)

    def _samples(self, prompt: list[int], number: int, config: SampleConfig) -> list[Sample]:
        assert config.seed is not None
        every = [randoms(config.seed, number, sample) for sample in range(config.n)]
        return [Sample(prompt, self._room(prompt), self.tokenizer, config, random) for random in every]

    def _extend(self, rows: list[list[Sample]]) -> Iterator[tuple[Sample, str]]:
        """Extend samples, those of a prompt in one row, until all have ended; yields text as it becomes certain."""
        if sum(map(len, rows)) == 1:
            yield from self._extend_one(rows[0][0])
        else:
            yield from self._extend_many(rows)

    def _extend_one(self, sample: Sample) -> Iterator[tuple[Sample, str]]:
        """Extend a lone sample, and check a draft of its next tokens in the same pass.

        Each token is chosen as without drafts; where it is the draft's, the next distribution is known already.
        """
        drafts, n_prompt, nothing = Drafts(), len(sample.tokens), np.zeros((1, 1, 0), dtype=bool)
        suppressed = list(self.tokenizer.suppressed)
        with self._states.borrow() as state:
            state.prefill(*padded([sample.tokens]), alone=True)
            while sample.ended is None:
                draft = drafts.next(sample.tokens, sample.n_left - 1)
                tokens, position = np.array([[sample.tokens[-1], *draft]]), len(sample.tokens) - n_prompt
                log_probs = state.log_probs(tokens, position, None, nothing)[0]
                log_probs[:, suppressed] = -np.inf
                for n_right, guess in enumerate([*draft, None]):
                    yield sample, sample.extend(log_probs[n_right])
                    if sample.ended is not None or sample.tokens[-1] != guess:
                        break
                drafts.judge(len(draft), n_right)

    def _extend_many(self, rows: list[list[Sample]]) -> Iterator[tuple[Sample, str]]:
        """Extend samples together."""
        with self._states.borrow() as state:
            alone = all(len(row) == 1 for row in rows)
            state.prefill(*padded([row[0].tokens for row in rows]), alone=alone)
            # In the first step all samples of a row read the same token.
            tokens = np.array([[row[0].tokens[-1]] for row in rows])
            seen: BoolArray = np.zeros((len(rows), 1, 0), dtype=bool)
            suppressed = list(self.tokenizer.suppressed)
            for position in count():
                slots, mask = (None, seen) if alone else place(seen)
                log_probs = state.log_probs(tokens, position, slots, mask)
                log_probs[:, :, suppressed] = -np.inf
                for row, predicted in zip(rows, log_probs, strict=True):
                    for sample, of_sample in zip(row, cycle(predicted)):
                        if sample.ended is None:
                            yield sample, sample.extend(of_sample)
                rows, mask = _leave(state, rows, mask)
                if not rows:
                    return
                rows, seen = _narrow(rows, mask)
                tokens = np.array([[sample.tokens[-1] for sample in row] for row in rows])


def _leave(state: State, rows: list[list[Sample]], mask: BoolArray) -> tuple[list[list[Sample]], BoolArray]:
    """Remove ended rows, once there are many."""
    done = [all(sample.ended for sample in row) for row in rows]
    if sum(done) < LEAVING * len(rows):
        return rows, mask
    kept = going_on(np.array(done))
    if len(kept):
        state.keep(kept)
    return [rows[i] for i in kept], mask[kept]


def _narrow(rows: list[list[Sample]], mask: BoolArray) -> tuple[list[list[Sample]], BoolArray]:
    """Narrow the rows to the largest number of live samples; returns them and the slots each sees, (B, W, C)."""
    if mask.shape[1] == len(rows[0]) and all(sample.ended is None for row in rows for sample in row):
        return rows, mask
    ended = np.array([[sample.ended is not None for sample in row] for row in rows])
    mask = np.broadcast_to(mask, (*ended.shape, mask.shape[2]))  # a shared token is the same for all
    W = int((~ended).sum(axis=1).max())
    order = np.argsort(ended, axis=1, kind="stable")[:, :W]
    seen = np.take_along_axis(mask & ~ended[:, :, None], order[:, :, None], axis=1)
    return [[row[i] for i in chosen] for row, chosen in zip(rows, order.tolist(), strict=True)], seen


def _limit(max_tokens: int | None, room: int) -> tuple[int, str]:
    """The maximum length of a continuation, and the reason why it ends there."""
    return (room, "context") if max_tokens is None or room < max_tokens else (max_tokens, "length")
