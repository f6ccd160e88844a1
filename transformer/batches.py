"""Batches of about equal size in tokens, of pairs of about equal length (section 5.1)."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from heed.models.tokenizer import Tokenizer
from heed.transformer.corpus import Corpus, IntArray


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pairs as padded token ids."""

    src: Tensor  # source and its end token, (B, S)
    tgt: Tensor  # beginning token and target: what the decoder reads, (B, T)
    targets: Tensor  # target and end token: what it must predict, (B, T)
    n_tokens: int  # targets that are no padding
    n_filled: int = 0
    n_cells: int = 0
    share: float = 1.0

    def part(self, number: int, of: int) -> "Batch":
        """Some of the rows."""
        rows = slice(number, None, of)
        if number >= len(self.src):
            return dataclasses.replace(
                self, src=self.src[:1], tgt=self.tgt[:1], targets=self.targets[:1] * 0, n_tokens=0
            )
        return dataclasses.replace(self, src=self.src[rows], tgt=self.tgt[rows], targets=self.targets[rows])


def plan_batches(src_lengths: IntArray, tgt_lengths: IntArray, *, batch_tokens: int) -> list[IntArray]:
    """Cut pairs, sorted by length, into batches whose padded sides have at most `batch_tokens` tokens each.

    Lengths count the one special token that each side gets. A pair longer than the budget is a batch by itself.

    Returns:
        For each batch the indices of its pairs.
    """
    lengths = np.maximum(src_lengths, tgt_lengths) + 1
    order = np.lexsort((src_lengths, tgt_lengths, lengths))
    batches, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - start) > batch_tokens:
            batches.append(order[start:end])
            start = end
    return batches


class Batches:
    """The batches of a corpus, in an order that is a function of seed and epoch alone.

    Pairs of equal length meet other neighbours in each epoch.
    """

    def __init__(self, corpus: Corpus, src: Tokenizer, tgt: Tokenizer, *, batch_tokens: int) -> None:
        self.corpus = corpus
        self.batch_tokens = batch_tokens
        self._src, self._tgt = src, tgt

    @property
    def facts(self) -> dict[str, int]:
        """What a person would like to know of them before training."""
        return {
            "pairs": len(self.corpus),
            "left_out_empty": self.corpus.n_empty,
            "left_out_long": self.corpus.n_long,
            "vocabulary": len(self._tgt),
        }

    def n_batches(self, epoch: int, seed: int) -> int:  # noqa: ARG002 - those of equal length are interchangeable
        """How many batches an epoch has."""
        lengths = self.corpus.src.lengths, self.corpus.tgt.lengths
        return len(plan_batches(*lengths, batch_tokens=self.batch_tokens))

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `start` on, shuffled."""
        random = np.random.default_rng((seed, epoch))
        pairs = random.permutation(len(self.corpus))
        plan = plan_batches(
            self.corpus.src.lengths[pairs],
            self.corpus.tgt.lengths[pairs],
            batch_tokens=self.batch_tokens,
        )
        order = random.permutation(len(plan))
        for done, number in enumerate(order[start:], start + 1):
            yield dataclasses.replace(self._batch(pairs[plan[number]]), share=done / len(plan))

    def in_order(self) -> Iterator[Batch]:
        """All pairs once, sorted by length."""
        lengths = self.corpus.src.lengths, self.corpus.tgt.lengths
        for indices in plan_batches(*lengths, batch_tokens=self.batch_tokens):
            yield self._batch(indices)

    def _batch(self, indices: IntArray) -> Batch:
        src, tgt = self._src, self._tgt
        return Batch(
            src=torch.from_numpy(self.corpus.src.padded(indices, src.pad_id, last=src.eos_id)),
            tgt=torch.from_numpy(self.corpus.tgt.padded(indices, tgt.pad_id, first=tgt.bos_id)),
            targets=torch.from_numpy(self.corpus.tgt.padded(indices, tgt.pad_id, last=tgt.eos_id)),
            n_tokens=int(self.corpus.tgt.lengths[indices].sum()) + len(indices),
        )
