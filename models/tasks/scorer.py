"""How likely given texts are under a language model, and given translations under one that translates."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from heed.models.decoding.batching import padded, plan_batches
from heed.models.decoding.beam_search import length_penalty
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Network
from heed.models.system.processor import available_cores
from heed.models.tokenizers.protocol import Special

LOGITS = 1 << 25  # log-probabilities in memory at a time (128 MiB)

Encode = Callable[[Sequence[str]], list[list[int]]]


@dataclasses.dataclass(frozen=True)
class Score:
    """How likely a text is."""

    log_prob: float  # of its tokens, in nats
    n_tokens: int

    @property
    def perplexity(self) -> float:
        """Of a token: e to its mean negative log-probability; NaN where there is none."""
        if not self.n_tokens:
            return math.nan
        mean = -self.log_prob / self.n_tokens
        return math.exp(mean) if mean < 700 else math.inf

    def penalized(self, alpha: float) -> float:
        """The log-probability over the length penalty of an exponent, as a search ranks by."""
        return self.log_prob / float(length_penalty(self.n_tokens, alpha))


@dataclasses.dataclass(frozen=True)
class Passage:
    """Token ids whose likelihood is asked for, after others that are given."""

    given: list[int]  # after the beginning token
    tokens: list[int]
    source: list[int] | None = None  # of a translation, its end token included


@dataclasses.dataclass(frozen=True)
class Row:
    """What a network reads at once to score a passage, or a part of it."""

    ids: list[int]  # from the beginning token on
    targets: list[int]  # what follows each of them
    first: int  # the first that counts
    source: list[int] | None

    def __len__(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.ids), len(self.source or ()))


class Scorer:
    """Says how likely texts are under a network: as texts, or as translations of sources.

    Args:
        network: In ONNX Runtime or in PyTorch.
        tokenizer: Of the texts: its special tokens.
        encode: Of the texts: their token ids.
        encode_sources: The token ids of sources; None: the network has no encoder.
        alpha: Exponent of the length penalty that a search with this model ranks by.
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
        assert network.spec.decoder is not None, "an encoder alone predicts no next token"
        self.alpha = alpha
        self._vocab_size, self._context = network.spec.decoder.vocab_size, network.context
        self._state, self._tokenizer = network.state(), tokenizer
        self._encode, self._encode_sources = encode, encode_sources

    @classmethod
    def load(cls, path: Path, task: str, *, device: str = "cpu", threads: int | None = None) -> "Scorer":
        """Load a bundle.

        Args:
            path: Its directory.
            task: What the model must be for: "translate" or "generate".
            device: "cpu" or "cuda".
            threads: Processor threads; None: as many as the cores that this process may use.

        Raises:
            ModelError: The bundle is damaged, of a later format or for another task, or the device cannot be used.
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

    def passage(self, text: str, *, prompt: str = "", end: bool = False) -> Passage:
        """A text after a prompt, as token ids, and with the end token where the text is whole."""
        given, tokens = self._encode([prompt, text])
        return Passage(given, tokens + [self._tokenizer.eos_id] * end)

    def drawn(self, passage: Passage, tokens: list[int]) -> Passage:
        """The same with the tokens that a text was made of, where a tokenizer would choose others.

        Raises:
            ModelError: They are none of this model's.
        """
        known = all(type(token) is int and 0 <= token < self._vocab_size for token in tokens)
        if not known:
            raise ModelError("its tokens are none of this model's; leave them out, or name the model that made it")
        end = passage.tokens[-1:] == [self._tokenizer.eos_id]
        return dataclasses.replace(passage, tokens=tokens + [self._tokenizer.eos_id] * end)

    def pairs(self, sources: Sequence[str], translations: Sequence[str]) -> list[Passage]:
        """Whole translations of sources, as token ids; where both are blank, there is nothing to score."""
        assert self._encode_sources is not None, "without an encoder there are no sources"
        eos_id = self._tokenizer.eos_id
        encoded = zip(self._encode_sources(sources), self._encode(translations), strict=True)
        return [
            Passage(list(self._tokenizer.forced), [*tgt, eos_id] if src or tgt else [], [*src, eos_id])
            for src, tgt in encoded
        ]

    def score(self, passages: Sequence[Passage]) -> list[Score]:
        """The log-probability of each passage; what is longer than the context is read in windows that overlap."""
        rows = [(i, row) for i, passage in enumerate(passages) for row in self._rows(passage)]
        log_probs, lengths = [0.0] * len(passages), [len(row) for _, row in rows]
        size = LOGITS // (self._vocab_size * max(lengths, default=1))
        for batch in plan_batches(lengths, max(1, size)):
            found = self._scored([rows[i][1] for i in batch])
            for i, of_row in zip(batch, found, strict=True):
                log_probs[rows[i][0]] += of_row
        return [Score(log_prob, len(passage.tokens)) for log_prob, passage in zip(log_probs, passages, strict=True)]

    def _scored(self, rows: list[Row]) -> list[float]:
        """The log-probability of what counts of each row."""
        sources = [row.source for row in rows if row.source is not None]
        if sources:
            self._state.encode(*padded(sources))
        found = self._state.score(padded([row.ids for row in rows])[0], padded([row.targets for row in rows])[0])
        parts = zip(found, rows, strict=True)
        return [float(of_row[row.first : len(row.ids)].sum(dtype=np.float64)) for of_row, row in parts]

    def _rows(self, passage: Passage) -> Iterator[Row]:
        every = passage.given + passage.tokens
        for begin, first, end in windows(len(passage.given), len(every), self._context or max(len(every), 1)):
            # What a network sees first is always the beginning, as in training.
            ids = [self._tokenizer.bos_id, *every[begin : end - 1]]
            yield Row(ids, every[begin:end], first - begin, passage.source)


def windows(first: int, end: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Windows of tokens, each as long as the context at most, by which those from the first to the end are predicted.

    After the first window, each token is predicted from half the context at least.

    Yields:
        Where each window begins, the first token that it predicts and no window before it did, and where it ends.
    """
    while first < end:
        stop = min(end, max(context, first + max(1, context // 2)))
        yield max(0, stop - context), first, stop
        first = stop
