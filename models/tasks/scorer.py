"""Scoring: log-probabilities of texts under a language model and of translations under a translation model."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from heed.models.decoding.batching import padded, plan_batches
from heed.models.decoding.config import DecodeConfig
from heed.models.decoding.hypothesis import length_penalty
from heed.models.errors import ModelError
from heed.models.records import record
from heed.models.runtime.protocol import Network
from heed.models.runtime.states import States
from heed.models.system.processor import available_cores
from heed.models.tasks.model import Model
from heed.models.tokenizers.protocol import Special

LOGITS = 1 << 25  # log-probabilities in memory at a time (128 MiB)

Encode = Callable[[Sequence[str]], list[list[int]]]


@record(frozen=True)
class Score:
    """The log-probability of a text."""

    log_prob: float  # number of processes tokens, in nats
    n_tokens: int

    @property
    def perplexity(self) -> float:
        """Perplexity per token: e to the mean negative log-probability; NaN without tokens."""
        if not self.n_tokens:
            return math.nan
        mean = -self.log_prob / self.n_tokens
        return math.exp(mean) if mean < 700 else math.inf

    def penalized(self, alpha: float) -> float:
        """The log-probability divided by the length penalty with this exponent, by which a search ranks."""
        return self.log_prob / float(length_penalty(self.n_tokens, alpha))


@record(frozen=True)
class ScoringInput:
    """Token ids to score, after given token ids."""

    given: list[int]  # after the beginning token
    tokens: list[int]
    source: list[int] | None = None  # source tokens of a translation, including the end token

    def read(self, bos_id: int) -> list[int]:
        """What a decoder reads to predict its tokens: the beginning token, and all but the last."""
        return [bos_id, *(self.given + self.tokens)[:-1]]


@record(frozen=True)
class Row:
    """One input row of the network, to score a passage or a part of it."""

    ids: list[int]  # including the beginning token
    targets: list[int]  # the token after each of them
    first: int  # index of the first one that counts
    source: list[int] | None

    def __len__(self) -> int:
        """Number of tokens of the longer side."""
        return max(len(self.ids), len(self.source or ()))


class Scorer(Model):
    """Scores texts, or translations of sources, under a network.

    Args:
        network: In ONNX Runtime or in PyTorch.
        tokenizer: The tokenizer of the texts, for its special tokens.
        encode: Turns texts into token ids.
        encode_sources: Turns sources into token ids; None: the network has no encoder.
        alpha: Exponent of the length penalty of a search with this model.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Special,
        encode: Encode,
        encode_sources: Encode | None = None,
        *,
        alpha: float = DecodeConfig().length_penalty,
    ) -> None:
        assert network.spec.decoder is not None, "an encoder alone cannot predict the next token"
        self.alpha = alpha
        self._vocab_size, self._context = network.spec.decoder.vocab_size, network.context
        self._states, self._tokenizer = States(lambda: network), tokenizer
        super().__init__(self._states)
        self._encode, self._encode_sources = encode, encode_sources

    @classmethod
    def load(cls, path: Path, task: str, *, device: str = "cpu", threads: int | None = None) -> "Scorer":
        """Load a bundle.

        Args:
            path: Its directory.
            task: The required task of the model: "translate" or "generate".
            device: "cpu" or "cuda".
            threads: CPU threads; None: as many as the cores that this process may use.

        Raises:
            ModelError: The bundle is damaged, has a later format or another task, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle

        with Bundle.loading(path) as bundle:
            manifest = bundle.require(task)
            network = bundle.network(device=device, threads=threads or available_cores())
            alpha = manifest.decode.length_penalty
            if manifest.network.encoder is None:
                tokenizer = bundle.text_tokenizer()
                return cls(network, tokenizer, tokenizer.encode_all, alpha=alpha)
            src, tgt = bundle.tokenizers()
        return cls(network, tgt, tgt.encode, src.encode, alpha=alpha)

    def passage(self, text: str, *, prompt: str = "", end: bool = False) -> ScoringInput:
        """A text after a prompt as token ids, with the end token if the text is complete."""
        given, tokens = self._encode([prompt, text])
        return ScoringInput(given, tokens + [self._tokenizer.eos_id] * end)

    def drawn(self, passage: ScoringInput, tokens: list[int]) -> ScoringInput:
        """The same passage with the tokens that were generated, which the tokenizer might split differently.

        Raises:
            ModelError: They are not this model's tokens.
        """
        known = all(type(token) is int and 0 <= token < self._vocab_size for token in tokens)
        if not known:
            raise ModelError("its tokens are not this model's; leave them out, or name the model that generated them")
        end = passage.tokens[-1:] == [self._tokenizer.eos_id]
        return dataclasses.replace(passage, tokens=tokens + [self._tokenizer.eos_id] * end)

    def pairs(self, sources: Sequence[str], translations: Sequence[str]) -> list[ScoringInput]:
        """Translations of sources as token ids; if both are blank, there is nothing to score."""
        assert self._encode_sources is not None, "without an encoder there are no sources"
        eos_id = self._tokenizer.eos_id
        encoded = zip(self._encode_sources(sources), self._encode(translations), strict=True)
        return [
            ScoringInput(list(self._tokenizer.forced), [*tgt, eos_id] if src or tgt else [], [*src, eos_id])
            for src, tgt in encoded
        ]

    def score(self, passages: Sequence[ScoringInput]) -> list[Score]:
        """The log-probability of each passage; one longer than the context is read in overlapping windows."""
        rows = [(i, row) for i, passage in enumerate(passages) for row in self._rows(passage)]
        log_probs, lengths = [0.0] * len(passages), [len(row) for _, row in rows]
        size = LOGITS // (self._vocab_size * max(lengths, default=1))
        for batch in plan_batches(lengths, max(1, size)):
            found = self._scored([rows[i][1] for i in batch])
            for i, of_row in zip(batch, found, strict=True):
                log_probs[rows[i][0]] += of_row
        return [Score(log_prob, len(passage.tokens)) for log_prob, passage in zip(log_probs, passages, strict=True)]

    def _scored(self, rows: list[Row]) -> list[float]:
        """The log-probability of the tokens of each row that count."""
        sources = [row.source for row in rows if row.source is not None]
        with self._states.borrow() as state:
            if sources:
                state.encode(*padded(sources))
            found = state.score(padded([row.ids for row in rows])[0], padded([row.targets for row in rows])[0])
        parts = zip(found, rows, strict=True)
        return [float(of_row[row.first : len(row.ids)].sum(dtype=np.float64)) for of_row, row in parts]

    def _rows(self, passage: ScoringInput) -> Iterator[Row]:
        every = passage.given + passage.tokens
        for begin, first, end in windows(len(passage.given), len(every), self._context or max(len(every), 1)):
            # The network always reads the beginning token first, as in training.
            ids = [self._tokenizer.bos_id, *every[begin : end - 1]]
            yield Row(ids, every[begin:end], first - begin, passage.source)


def windows(first: int, end: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Windows of at most the context's length that together predict all tokens from the first to the end.

    After the first window, each token is predicted from at least half the context.

    Yields:
        The start of each window, the first token that only it predicts, and its end.
    """
    while first < end:
        stop = min(end, max(context, first + max(1, context // 2)))
        yield max(0, stop - context), first, stop
        first = stop
