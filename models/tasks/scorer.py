"""How likely given texts are under a language model, and given translations under one that translates."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.batching import padded, plan_batches
from heed.models.decoding.beam_search import length_penalty
from heed.models.errors import ModelError
from heed.models.runtime.protocol import TextNetwork
from heed.models.system.processor import available_cores
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.subwords import Tokenizer

LOGITS = 1 << 25  # log-probabilities in memory at a time (128 MiB)


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


@dataclasses.dataclass(frozen=True)
class TranslationScore(Score):
    """How likely a translation is, its end included."""

    score: float  # log_prob over the length penalty, as a search ranks by


@dataclasses.dataclass(frozen=True)
class Passage:
    """Token ids whose likelihood is asked for, after others that are given."""

    given: list[int]  # after the beginning token
    tokens: list[int]


@dataclasses.dataclass(frozen=True)
class Row:
    """What a network reads at once to score a passage, or a part of it."""

    ids: list[int]  # from the beginning token on
    targets: list[int]  # what follows each of them
    first: int  # the first that counts


class TextScorer:
    """Says how likely texts are under a language model.

    Args:
        network: In ONNX Runtime or in PyTorch.
        tokenizer: Of the texts.
    """

    def __init__(self, network: TextNetwork, tokenizer: TextTokenizer) -> None:
        self._network, self._state, self._tokenizer = network, network.state(), tokenizer

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", threads: int | None = None) -> "TextScorer":
        """Load a bundle; see `heed.models.tasks.generator.Generator.load`."""
        from heed.models.tasks.generator import load_text_bundle

        network, tokenizer, _ = load_text_bundle(path, device=device, threads=threads)
        return cls(network, tokenizer)

    def passage(self, text: str, *, prompt: str = "", end: bool = False) -> Passage:
        """A text after a prompt, as token ids, and with the end token where the text is whole."""
        tokens = self._tokenizer.encode(text)
        return Passage(self._tokenizer.encode(prompt), tokens + [self._tokenizer.eos_id] * end)

    def drawn(self, passage: Passage, tokens: list[int]) -> Passage:
        """The same with the tokens that a text was made of, where a tokenizer would choose others.

        Raises:
            ModelError: They are none of this model's.
        """
        known = all(type(token) is int and 0 <= token < self._network.vocab_size for token in tokens)
        if not known:
            raise ModelError("its tokens are none of this model's; leave them out, or name the model that made it")
        end = passage.tokens[-1:] == [self._tokenizer.eos_id]
        return Passage(passage.given, tokens + [self._tokenizer.eos_id] * end)

    def score(self, passages: Sequence[Passage]) -> list[Score]:
        """The log-probability of each passage; what is longer than the context is read in windows that overlap."""
        rows = [(i, row) for i, passage in enumerate(passages) for row in self._rows(passage)]
        log_probs = [0.0] * len(passages)
        lengths = [len(row.ids) for _, row in rows]
        size = LOGITS // (self._network.vocab_size * max(lengths, default=1))
        for batch in plan_batches(lengths, max(1, size)):
            ids, _ = padded([rows[i][1].ids for i in batch])
            targets, _ = padded([rows[i][1].targets for i in batch])
            for i, found in zip(batch, self._state.score(ids, targets), strict=True):
                passage, row = rows[i]
                log_probs[passage] += float(found[row.first : len(row.ids)].sum(dtype=np.float64))
        return [Score(log_prob, len(passage.tokens)) for log_prob, passage in zip(log_probs, passages, strict=True)]

    def _rows(self, passage: Passage) -> "Iterator[Row]":
        every = passage.given + passage.tokens
        for begin, first, end in windows(len(passage.given), len(every), self._network.context):
            # What a network sees first is always the beginning, as in training.
            yield Row([self._tokenizer.bos_id, *every[begin : end - 1]], every[begin:end], first - begin)


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


class ForcedState(Protocol):
    """What scores translations; see `heed.models.runtime.encoder_decoder.OnnxState`."""

    def read(self, src: IntArray, src_mask: BoolArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        ...

    def log_probs(self, tgt: IntArray) -> FloatArray:
        """Log-probabilities after each position of targets, (B, T), that begin with the beginning token: (B, T, V)."""
        ...


class TranslationScorer:
    """Says how likely translations are under a network that translates, over its whole vocabulary.

    Args:
        state: The network.
        src_tokenizer: Of the sources.
        tgt_tokenizer: Of the translations.
        alpha: Exponent of the length penalty.
    """

    def __init__(self, state: ForcedState, src_tokenizer: Tokenizer, tgt_tokenizer: Tokenizer, *, alpha: float) -> None:
        self._state, self._src, self._tgt, self._alpha = state, src_tokenizer, tgt_tokenizer, alpha

    @classmethod
    def load(
        cls, path: Path, *, device: str = "cpu", threads: int | None = None, alpha: float | None = None
    ) -> "TranslationScorer":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: Processor threads; None: as many as the cores that this process may use.
            alpha: Exponent of the length penalty; None: the bundle's.

        Raises:
            ModelError: The bundle is damaged or of a later format, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle

        with Bundle.loading(path) as bundle:
            from heed.models.runtime.encoder_decoder import OnnxNetwork

            manifest, (src, tgt) = bundle.translation(), bundle.tokenizers()
            network = OnnxNetwork(path, manifest.network, device=device, threads=threads or available_cores())
        return cls(network.state(), src, tgt, alpha=manifest.decode.length_penalty if alpha is None else alpha)

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[TranslationScore]:
        """How likely each translation is; where source and translation are blank, nothing is scored."""
        src = [[*ids, self._src.eos_id] for ids in self._src.encode(sources)]
        tgt = [[*ids, self._tgt.eos_id] for ids in self._tgt.encode(translations)]
        lengths = [max(len(source), len(target)) for source, target in zip(src, tgt, strict=True)]
        asked = [i for i, length in enumerate(lengths) if length > 1]
        found = {i: TranslationScore(0.0, 0, 0.0) for i in range(len(lengths))}
        size = LOGITS // (len(self._tgt) * max(lengths, default=1))
        for batch in plan_batches([lengths[i] for i in asked], max(1, size)):
            rows = [asked[i] for i in batch]
            log_probs = self._forced([src[i] for i in rows], [tgt[i] for i in rows])
            found.update(
                (i, self._penalized(log_prob, len(tgt[i]))) for i, log_prob in zip(rows, log_probs, strict=True)
            )
        return [found[i] for i in range(len(lengths))]

    def _forced(self, src: list[list[int]], tgt: list[list[int]]) -> list[float]:
        """The log-probability of each target, its end token included."""
        self._state.read(*padded(src))
        targets, counts = padded(tgt)
        begun, _ = padded([[self._tgt.bos_id, *row[:-1]] for row in tgt])
        log_probs = np.take_along_axis(self._state.log_probs(begun), targets[:, :, None], axis=2)[:, :, 0]
        return np.where(counts, log_probs, 0).sum(axis=1, dtype=np.float64).tolist()

    def _penalized(self, log_prob: float, n_tokens: int) -> TranslationScore:
        return TranslationScore(log_prob, n_tokens, log_prob / float(length_penalty(n_tokens, self._alpha)))
