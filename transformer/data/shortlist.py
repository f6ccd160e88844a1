"""Shortlist: a target vocabulary for each sentence, learnt by aligning the training text.

The translation probabilities are those of IBM Model 1 (Brown et al., 1993, "The Mathematics of Statistical Machine
Translation", section 4.1).
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from heed.models.arrays import IntArray
from heed.models.errors import ModelError
from heed.transformer.data.batching.pairs import Pairs

FILE_NAME = "shortlist.safetensors"
LIKELY = 10  # translations kept for a source token, besides those in every shortlist
# Number of most frequent target tokens, which are in every shortlist: a batch of sentences needs most of them anyway.
ALWAYS = 3000
ROUNDS = 5  # rounds of expectation maximization; the best translations hardly change afterwards
# Limit of the summed products of both lengths of pairs: memory (some 30 bytes each, 60 where the product of the
# vocabularies' sizes exceeds 2^31) and time of a round grow with it.
LIMIT = 40_000_000
ENOUGH = (1, 3, 10, 30)  # pairs to find for each source token, in this order, if the text is larger

Ids = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Shortlist:
    """The target tokens that sentences may need."""

    likely: Ids  # most probable translations of each source token, (V_src, L); unused entries repeat one of `always`
    always: Ids  # tokens for every sentence, (F,); the end token first

    def joined(self, other: "Shortlist") -> "Shortlist":
        """What a sentence may need by the one or by the other, which may know fewer source tokens."""
        more = np.setdiff1d(other.always, self.always)
        likely = np.full((len(self.likely), other.likely.shape[1]), self.always[0], dtype=np.int32)
        likely[: len(other.likely)] = other.likely
        return Shortlist(np.concatenate([self.likely, likely], axis=1), np.concatenate([self.always, more]))

    def save(self, directory: Path) -> None:
        """Write it into a run's directory."""
        (directory / FILE_NAME).write_bytes(serialize({"likely": self.likely, "always": self.always}))

    @classmethod
    def load(cls, directory: Path) -> "Shortlist | None":
        """Read a run's; None, where the run has none.

        Raises:
            ModelError: It is damaged.
            OSError: It cannot be read.
        """
        path = directory / FILE_NAME
        try:
            return cls(**deserialize(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (SafetensorError, TypeError) as error:
            raise ModelError(f"{path}: damaged ({error}); restore it, or train again") from None


def learn_shortlist(
    corpus: Pairs,
    src_size: int,
    tgt_size: int,
    eos_id: int,
    *,
    joint: bool,
    n_likely: int = LIKELY,
    n_always: int = ALWAYS,
) -> Shortlist:
    """Learn a shortlist from training pairs.

    Args:
        corpus: The pairs.
        src_size: Size of the source vocabulary, V_src.
        tgt_size: Size of the target vocabulary.
        eos_id: The target's end token, which every sentence needs.
        joint: Whether source and target share a vocabulary; a token can then always be copied.
        n_likely: Maximum of L.
        n_always: Maximum of F.
    """
    frequency = np.bincount(np.concatenate([corpus.tgt[i] for i in range(len(corpus))]), minlength=tgt_size)
    frequency[eos_id] = frequency.max() + 1
    always = np.argsort(-frequency, kind="stable")[:n_always].astype(np.int32)
    likely = np.full((src_size, n_likely), always[0], dtype=np.int32)
    src, tgt, probability = translation_probabilities(corpus, tgt_size)
    order = np.lexsort((-probability, src))
    order = order[~np.isin(tgt[order], always)]
    src, tgt = src[order], tgt[order]
    rank = np.arange(len(src)) - np.searchsorted(src, src)  # rank of each translation for its source token
    kept = rank < n_likely
    likely[src[kept], rank[kept]] = tgt[kept]
    if joint:
        copied = np.arange(src_size, dtype=np.int32)
        there = (likely == copied[:, None]).any(axis=1) | np.isin(copied, always)
        likely[:, -1] = np.where(there, likely[:, -1], copied)
    return Shortlist(likely, always)


def translation_probabilities(corpus: Pairs, tgt_size: int) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
    """IBM Model 1: t(target | source) for each source and target token that occur in the same pair.

    Returns:
        Source tokens, target tokens, probabilities: one entry for each co-occurrence, ordered by source.
    """
    meetings, slots = _meetings(corpus, tgt_size)
    keys, meetings = np.unique(meetings, return_inverse=True)
    src, tgt = np.divmod(keys.astype(np.int64), tgt_size)
    probability = np.ones(len(keys))
    for _ in range(ROUNDS):
        weight = probability[meetings]
        weight /= np.bincount(slots, weight)[slots]  # responsibility of each source token for the target token
        expected = np.bincount(meetings, weight)
        probability = expected / np.bincount(src, expected)[src]
    return src, tgt, probability


def _meetings(corpus: Pairs, tgt_size: int) -> tuple[npt.NDArray[np.signedinteger], npt.NDArray[np.int32]]:
    """Every source token with every target token of its pair, as one number, and the index of the target token."""
    dtype: type[np.signedinteger] = np.int32 if (int(corpus.ids.max()) + 1) * tgt_size <= 2**31 else np.int64
    keys: list[npt.NDArray[np.signedinteger]] = []
    lengths: list[int] = []
    for i in _telling_pairs(corpus):
        src, tgt = corpus.src[i].astype(dtype), corpus.tgt[i].astype(dtype)
        keys.append((src[None, :] * dtype(tgt_size) + tgt[:, None]).ravel())
        lengths += [len(src)] * len(tgt)
    return np.concatenate(keys), np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def _telling_pairs(corpus: Pairs) -> Iterator[int]:
    """All pairs or, above `LIMIT`, those with a source token that few pairs chosen so far have, and then the shortest.

    In a short pair fewer tokens can be meant by a token, and more such pairs fit.
    """
    sizes = corpus.src.lengths * corpus.tgt.lengths
    if sizes.sum() <= LIMIT:
        yield from range(len(corpus))
        return
    seen, size = np.zeros(int(corpus.ids.max()) + 1, dtype=np.int64), 0
    taken = np.zeros(len(corpus), dtype=bool)
    for enough in ENOUGH:
        for i in np.flatnonzero(~taken).tolist():
            src = corpus.src[i]
            if seen[src].min() < enough and size + sizes[i] <= LIMIT:
                seen[src] += 1
                size += sizes[i]
                taken[i] = True
                yield i
    left = np.flatnonzero(~taken)
    left = left[np.argsort(sizes[left], kind="stable")]
    yield from left[size + np.cumsum(sizes[left]) <= LIMIT].tolist()
