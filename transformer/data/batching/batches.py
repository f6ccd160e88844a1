"""Batches with a similar number of tokens, of pairs of similar length (section 5.1)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from heed.models.tokenizers.protocol import LineTokenizer
from heed.transformer.data.batching.bucketing import cuts, plan_batches
from heed.transformer.data.batching.order import Order, PairRanges, RandomStream, read, read_bounds
from heed.transformer.data.batching.pairs import AnyPairs, IntArray, Pairs
from heed.transformer.data.batching.variation import GROUP, AugmentedPairs, Variation


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pairs as padded token ids."""

    src: Tensor  # source with its end token, (B, S)
    tgt: Tensor  # decoder input: beginning token and target, (B, T)
    targets: Tensor  # labels: target and end token, (B, T)
    pad_ids: tuple[int, int]  # padding ids of source and target
    share: float = 1.0  # share of the epoch's pairs that is done after this batch
    n_copied: int = 0  # pairs with other names, numbers, addresses or code words than in the corpora
    n_recased: int = 0  # pairs in capitals, or written as titles

    @cached_property
    def n_tokens(self) -> int:
        """Number of target tokens, without padding."""
        return int((self.targets != self.pad_ids[1]).sum())

    @cached_property
    def n_cells(self) -> int:
        """Number of positions on both sides, with padding."""
        return self.src.numel() + self.tgt.numel()

    @cached_property
    def n_filled(self) -> int:
        """Number of positions without padding."""
        return int((self.src != self.pad_ids[0]).sum() + (self.tgt != self.pad_ids[1]).sum())

    def part(self, number: int, of: int) -> Self:
        """One part of the batch, for one of several processes; together the parts have each pair once.

        If there are fewer pairs than parts, the remaining parts get a pair whose labels are all padding.
        """
        src, tgt, targets = (side[number::of] for side in (self.src, self.tgt, self.targets))
        if not len(src):
            src, tgt, targets = self.src[:1], self.tgt[:1], torch.full_like(self.targets[:1], self.pad_ids[1])
        S, T = (int((side != pad_id).any(0).sum()) for side, pad_id in zip((src, tgt), self.pad_ids, strict=True))
        src, tgt, targets = src[:, :S].contiguous(), tgt[:, :T].contiguous(), targets[:, :T].contiguous()
        return dataclasses.replace(self, src=src, tgt=tgt, targets=targets)

    def pinned(self) -> Self:
        """A copy in pinned memory, for asynchronous transfer to a GPU."""
        src, tgt, targets = (side.pin_memory() for side in (self.src, self.tgt, self.targets))
        return dataclasses.replace(self, src=src, tgt=tgt, targets=targets)


class Batches:
    """The batches of corpora, in an order that depends only on the seed and the epoch.

    Pairs of equal length get new neighbours in each epoch.

    Args:
        corpora: The pairs.
        src: The source tokenizer.
        tgt: The target tokenizer.
        batch_tokens: Maximum number of tokens per batch and side.
        weights: How often an epoch uses each corpus; None: once.
        facts: Facts about the pairs, shown before training.
        variation: How pairs differ each time they are learnt; None: use the tokens of the corpora.
    """

    def __init__(
        self,
        corpora: Sequence[AnyPairs],
        src: LineTokenizer,
        tgt: LineTokenizer,
        *,
        batch_tokens: int,
        weights: Sequence[float] = (),
        facts: Mapping[str, int] | None = None,
        variation: Variation | None = None,
    ) -> None:
        self._corpora, self._batch_tokens, self._variation = corpora, batch_tokens, variation
        self._src, self._tgt = src, tgt
        self._order = Order.of(corpora, weights)
        self.facts: Mapping[str, int] = {**(facts or {}), "vocabulary": len(tgt)}

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[Batch]:
        """The shuffled batches of an epoch from number `start`; of earlier ones only the lengths are read."""
        windows = self._order.windows(epoch, seed)
        n_pairs, n_behind, number = sum(map(len, windows)), 0, 0
        for place, window in enumerate(windows):
            n_skipped = max(0, start - number)
            if n_skipped and (n_batches := self._n_batches(window)) <= n_skipped:
                number, n_behind = number + n_batches, n_behind + len(window)
                continue
            for done, (pairs, rows) in enumerate(self._window(window, (seed, epoch, place), n_skipped)):
                number, n_behind = number + 1, n_behind + len(rows)
                if done >= n_skipped:
                    yield self._batch(pairs, rows, share=n_behind / n_pairs)

    def _window(
        self, window: PairRanges, draw: tuple[int, int, int], n_skipped: int
    ) -> Iterator[tuple[Pairs, IntArray]]:
        """The pairs of each batch of a window; for a skipped group of batches, only their number."""
        pairs = read(self._corpora, window)
        plan = self._shuffled(pairs, np.random.default_rng((RandomStream.BATCHES, *draw)))
        if not self._variation:
            yield from ((pairs, rows) for rows in plan)
            return
        texts = read(self._variation.texts, window)
        for start in range(0, len(plan), GROUP):
            group = plan[start : start + GROUP]
            if start + GROUP > n_skipped:
                yield from self._variation.batches(
                    texts, group, np.random.SeedSequence((RandomStream.SUBWORDS, *draw, start))
                )
            else:
                yield from ((pairs, rows) for rows in group)

    def _n_batches(self, window: PairRanges) -> int:
        """The number of batches of a window, from the lengths of its pairs."""
        lengths = np.diff(read_bounds(self._corpora, window))
        return len(cuts(np.sort(np.maximum(lengths[::2], lengths[1::2]) + 1), self._batch_tokens))

    def _shuffled(self, pairs: Pairs, random: np.random.Generator) -> list[IntArray]:
        """The pairs of each batch of a window."""
        order = random.permutation(len(pairs))
        lengths = pairs.src.lengths[order], pairs.tgt.lengths[order]
        plan = plan_batches(*lengths, batch_tokens=self._batch_tokens)
        return [order[plan[number]] for number in random.permutation(len(plan))]

    def in_order(self) -> Iterator[Batch]:
        """All pairs once, sorted by length, for validation; loads them into memory."""
        sizes = [len(corpus) for corpus in self._corpora]
        pairs = read(self._corpora, PairRanges.whole(sizes))
        for rows in plan_batches(pairs.src.lengths, pairs.tgt.lengths, batch_tokens=self._batch_tokens):
            yield self._batch(pairs, rows)

    def _batch(self, pairs: Pairs, rows: IntArray, share: float = 1.0) -> Batch:
        src, tgt = self._src, self._tgt
        return Batch(
            src=torch.from_numpy(pairs.src.padded(rows, src.pad_id, last=src.eos_id)),
            tgt=torch.from_numpy(pairs.tgt.padded(rows, tgt.pad_id, first=tgt.bos_id)),
            targets=torch.from_numpy(pairs.tgt.padded(rows, tgt.pad_id, last=tgt.eos_id)),
            pad_ids=(src.pad_id, tgt.pad_id),
            share=share,
            n_copied=int(pairs.copied[rows].sum()) if isinstance(pairs, AugmentedPairs) else 0,
            n_recased=int(pairs.recased[rows].sum()) if isinstance(pairs, AugmentedPairs) else 0,
        )
