"""Prompts to their continuations: tokens, batches, samples or a search, and text again."""

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
from heed.models.decoding.sampling import SampleConfig, choose, randoms, seeded
from heed.models.errors import DataError, ModelError
from heed.models.runtime.protocol import Network
from heed.models.system.processor import available_cores
from heed.models.text.chat import ChatTemplate
from heed.models.text.stream import TextStream
from heed.models.tokenizers.protocol import PlainTokenizer

BATCH_SIZE = 16  # prompts continued together, at most
UNLIMITED = 1 << 15  # tokens of a text by a network that could read any number


@dataclasses.dataclass(frozen=True)
class Generation:
    """A continuation of a prompt."""

    text: str  # without the stop string, where one ended it
    tokens: list[int]  # without the end token, and with those of the stop string
    log_prob: float  # of the tokens and, where it ended by itself, of the end token, in nats; the network's own
    ended: str  # why: "end": by itself, "stop": a stop string, "length": the limit, "context": no room is left


class Sample:
    """A continuation that is being made.

    Args:
        prompt: Its token ids.
        room: Tokens that the network can predict after it.
        tokenizer: Theirs.
        config: How to draw.
        random: Its random numbers.
    """

    def __init__(
        self, prompt: list[int], room: int, tokenizer: PlainTokenizer, config: SampleConfig, random: np.random.Generator
    ) -> None:
        self.tokens = list(prompt)  # its own stand behind the prompt's
        self.ended: str | None = None  # see `Generation`; None: it goes on
        self._log_prob, self._n_prompt, self._limit = 0.0, len(prompt), _limit(config.max_tokens, room)
        self._ends, self._config, self._random = tokenizer.ends, config, random
        self._stream = TextStream(tokenizer, config.stop)

    def extend(self, log_probs: FloatArray) -> str:
        """Choose the next token by the log-probabilities of all, (V,); returns the text that it decides."""
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
    def generation(self) -> Generation:
        """What it is when it has ended."""
        assert self.ended is not None
        return Generation(self._stream.text, self.tokens[self._n_prompt :], self._log_prob, self.ended)


class Generator:
    """Goes on with prompts by a language model and its tokenizer.

    Args:
        network: In ONNX Runtime or in PyTorch.
        tokenizer: Of prompts and continuations.
        chat_template: How the network writes a conversation; None: it was made for none.
    """

    def __init__(self, network: Network, tokenizer: PlainTokenizer, chat_template: ChatTemplate | None = None) -> None:
        self.chat_template, self.context = chat_template, network.context or UNLIMITED
        self.tokenizer, self._state = tokenizer, network.state()

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", threads: int | None = None) -> "Generator":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: Processor threads; None: as many as the cores that this process may use.

        Raises:
            ModelError: The bundle is damaged or of a later format, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle

        with Bundle.loading(path) as bundle:
            manifest, tokenizer = bundle.require("generate"), bundle.text_tokenizer()
            network = bundle.network(device=device, threads=threads or available_cores())
        return cls(network, tokenizer, manifest.chat_template)

    def prompt_room(self, max_tokens: int | None) -> int:
        """Tokens of a prompt that leave room for so many, or for half the context, if that is less or they are None."""
        half = max(1, self.context // 2)
        return self.context - min(max_tokens or half, half)

    def encode(self, prompt: str, *, max_tokens: int | None = None, truncate: bool = False) -> list[int]:
        """The token ids of a prompt, from the beginning token on.

        Args:
            prompt: Any text.
            max_tokens: Of the continuation.
            truncate: Leave out the beginning of a prompt that leaves less room than these need, or half the context.

        Raises:
            DataError: The prompt is longer than the context.
        """
        tokens = self.tokenizer.encode(prompt)
        if truncate:
            tokens = tokens[max(0, len(tokens) - self.prompt_room(max_tokens)) :]
        if len(tokens) >= self.context:
            raise DataError(
                f"the prompt has {len(tokens) + 1:,} tokens, its beginning included, and the model's context is "
                f"{self.context:,}; shorten the prompt, or have it cut from the left (--truncate)"
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
        """Go on with prompts.

        Args:
            prompts: Any texts.
            config: How to draw.
            truncate: See `encode`.
            numbers: Of the prompts: with the seed, what their random numbers depend on; None: 0, 1, 2 and so on.
            batch_size: Samples made together.

        Returns:
            The samples of each prompt.

        Raises:
            DataError: A prompt is longer than the context.
        """
        config = seeded(config or SampleConfig())
        ids = [self.encode(prompt, max_tokens=config.max_tokens, truncate=truncate) for prompt in prompts]
        samples = [self._samples(*row, config) for row in zip(ids, numbers or range(len(ids)), strict=True)]
        width = min(config.n, batch_size)  # more samples of a prompt are made in several parts
        parts = [row[first : first + width] for row in samples for first in range(0, config.n, width)]
        for batch in plan_batches([len(part[0].tokens) for part in parts], batch_size // width):
            for _ in self._extend([parts[i] for i in batch]):
                pass
        return [[sample.generation for sample in row] for row in samples]

    def stream(
        self, prompt: str, config: SampleConfig | None = None, *, truncate: bool = False, number: int = 0
    ) -> "Steps[str, None, Generation]":
        """Go on with a prompt; yields the text as it is made, in pieces of whole characters, and returns all of it.

        Args:
            prompt: Any text.
            config: How to draw; of several samples, the first is made.
            truncate: See `encode`.
            number: Of the prompt; see `generate`.

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
        """Find the likeliest continuations of prompts by beam search, the best first.

        Raises:
            DataError: A prompt is longer than the context.
            ModelError: There are more hypotheses than the context has places.
        """
        config = config or DecodeConfig()
        if config.beam_size > self.context:  # the operator that rotates counts them as one row
            raise ModelError(f"beam_size must be at most the model's context, {self.context:,}, not {config.beam_size}")
        ids = [self.encode(prompt, max_tokens=config.max_length, truncate=truncate) for prompt in prompts]
        # Where no length is given, a continuation is as long as there is room.
        bounded = dataclasses.replace(config, max_length=config.max_length or self.context)
        special = SpecialIds(
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            ends=self.tokenizer.ends[1:],
            suppressed=self.tokenizer.suppressed,
        )
        found: dict[int, list[Generation]] = {}
        for batch in plan_batches([len(row) for row in ids], max(1, batch_size // config.beam_size)):
            begun = [ids[i] for i in batch]
            results = search(self._state, None, bounded, special, prompts=begun, n_best=n_best, context=self.context)
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
        """How many tokens the network can predict after a prompt; it does not read the last of them."""
        return self.context + 1 - len(prompt)

    def _samples(self, prompt: list[int], number: int, config: SampleConfig) -> list[Sample]:
        assert config.seed is not None
        every = [randoms(config.seed, number, sample) for sample in range(config.n)]
        return [Sample(prompt, self._room(prompt), self.tokenizer, config, random) for random in every]

    def _extend(self, rows: list[list[Sample]]) -> Iterator[tuple[Sample, str]]:
        """Extend samples, those of a prompt in a row, until all have ended; yields each one's text as it is decided."""
        alone = all(len(row) == 1 for row in rows)
        self._state.prefill(*padded([row[0].tokens for row in rows]), alone=alone)
        # At first all samples of a row read the same token.
        tokens = np.array([[row[0].tokens[-1]] for row in rows])
        seen: BoolArray = np.zeros((len(rows), 1, 0), dtype=bool)
        for position in count():
            slots, mask = (None, seen) if alone else place(seen)
            log_probs = self._state.log_probs(tokens, position, slots, mask)
            for token in self.tokenizer.suppressed:
                log_probs[:, :, token] = -np.inf
            for row, predicted in zip(rows, log_probs, strict=True):
                for sample, of_sample in zip(row, cycle(predicted)):
                    if sample.ended is None:
                        yield sample, sample.extend(of_sample)
            rows, mask = self._leave(rows, mask)
            if not rows:
                return
            rows, seen = _narrow(rows, mask)
            tokens = np.array([[sample.tokens[-1] for sample in row] for row in rows])

    def _leave(self, rows: list[list[Sample]], mask: BoolArray) -> tuple[list[list[Sample]], BoolArray]:
        """Go on without the rows that have ended, once they are many."""
        done = [all(sample.ended for sample in row) for row in rows]
        if sum(done) < LEAVING * len(rows):
            return rows, mask
        kept = going_on(np.array(done))
        if len(kept):
            self._state.keep(kept)
        return [rows[i] for i in kept], mask[kept]


def _narrow(rows: list[list[Sample]], mask: BoolArray) -> tuple[list[list[Sample]], BoolArray]:
    """As many samples in each row as go on in the longest, and the slots that each has seen, (B, W, C)."""
    if mask.shape[1] == len(rows[0]) and all(sample.ended is None for row in rows for sample in row):
        return rows, mask
    ended = np.array([[sample.ended is not None for sample in row] for row in rows])
    mask = np.broadcast_to(mask, (*ended.shape, mask.shape[2]))  # that of a token they share is the same for all
    W = int((~ended).sum(axis=1).max())
    order = np.argsort(ended, axis=1, kind="stable")[:, :W]
    seen = np.take_along_axis(mask & ~ended[:, :, None], order[:, :, None], axis=1)
    return [[row[i] for i in chosen] for row, chosen in zip(rows, order.tolist(), strict=True)], seen


def _limit(max_tokens: int | None, room: int) -> tuple[int, str]:
    """How many tokens a continuation may have, and what ends it there."""
    return (room, "context") if max_tokens is None or room < max_tokens else (max_tokens, "length")
