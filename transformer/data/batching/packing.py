"""Packing: documents one after another in rows of equal length, with almost no padding."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from heed.models.tokenizers.protocol import PlainTokenizer
from heed.transformer.data.batching.order import Order, PairRanges, RandomStream, read, read_bounds
from heed.transformer.data.batching.pairs import AnyIntArray, AnyPairs, IntArray

IGNORED = -1  # a target where nothing is learnt; padding may be a token that is, as GPT-2's end of a text


@dataclasses.dataclass(frozen=True)
class TextBatch:
    """Rows of token ids, (B, T)."""

    ids: Tensor  # input
    targets: Tensor  # labels, and IGNORED
    positions: Tensor  # position of each token in its piece of a document, from 0
    pad_id: int
    share: float = 1.0  # share of the epoch's text that is done after this batch
    n_copied: ClassVar[int] = 0  # text is not augmented
    n_recased: ClassVar[int] = 0

    @cached_property
    def n_tokens(self) -> int:
        """Number of target tokens that are learnt."""
        return int((self.targets != IGNORED).sum())

    @cached_property
    def n_cells(self) -> int:
        """Number of positions in the rows, with padding."""
        return self.ids.numel()

    @cached_property
    def n_filled(self) -> int:
        """Number of positions without padding."""
        return int((self.ids != self.pad_id).sum())

    def part(self, number: int, of: int) -> Self:
        """One part of the batch, for one of several processes; together the parts have each row once.

        If there are fewer rows than parts, the remaining parts get a row in which nothing is learnt.
        """
        ids, targets, positions = (side[number::of] for side in (self.ids, self.targets, self.positions))
        if not len(ids):
            ids, targets, positions = self.ids[:1], torch.full_like(self.targets[:1], IGNORED), self.positions[:1]
        ids, targets, positions = (side.contiguous() for side in (ids, targets, positions))
        return dataclasses.replace(self, ids=ids, targets=targets, positions=positions)

    def pinned(self) -> Self:
        """A copy in pinned memory, for asynchronous transfer to a GPU."""
        ids, targets, positions = (side.pin_memory() for side in (self.ids, self.targets, self.positions))
        return dataclasses.replace(self, ids=ids, targets=targets, positions=positions)


@dataclasses.dataclass(frozen=True)
class PackingPlan:
    """Pieces of documents, in the order in which they fill rows."""

    starts: IntArray  # start of each piece in the tokens
    stops: IntArray  # end of each piece
    given: IntArray  # end of the prompt, which is not learnt
    rows: IntArray  # the row of each piece, ascending

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.rows[-1]) + 1


class Layout:
    """Assigns documents in memory to rows.

    Every piece starts with the beginning token, even the rest of a document that was too long for a row, because the
    model always sees that token first. A document with a prompt is not split if it fits, because the rest would lose
    the prompt. A prompt that leaves too little room in a row loses its beginning.

    Args:
        bounds: The starts of the prompts and texts of documents, and the end of the last, (2n + 1,).
        context: Length of a row in tokens (T).
    """

    def __init__(self, bounds: IntArray, context: int) -> None:
        self._context = context
        begins, lengths, n_given = bounds[:-1:2] - bounds[0], bounds[2::2] - bounds[:-1:2], bounds[1::2] - bounds[:-1:2]
        skipped = np.clip(lengths - context, 0, n_given)  # beginnings of prompts that are too long
        self._begins, self._lengths, self._n_given = begins + skipped, lengths - skipped, n_given - skipped

    def __len__(self) -> int:
        """The number of documents."""
        return len(self._lengths)

    def shuffled(self, random: np.random.Generator) -> PackingPlan:
        """Documents in random order, with new cuts each time."""
        order = random.permutation(len(self))
        return self.plan(order, int(random.integers(self._context)))

    def plan(self, order: IntArray, shift: int) -> PackingPlan:
        """Split documents, in the given order, into rows; the first row is shorter by `shift` tokens."""
        context = self._context
        begins = self._laid_out(order, shift)
        ends = begins + self._lengths[order]
        n_pieces = (ends - 1) // context - begins // context + 1
        place = np.repeat(np.arange(len(order)), n_pieces)  # the document of each piece
        number = np.arange(len(place)) - (n_pieces.cumsum() - n_pieces)[place]  # offset of the piece in its document
        rows = (begins // context)[place] + number
        in_stream = (self._begins[order] - begins)[place]
        return PackingPlan(
            starts=np.maximum(begins[place], rows * context) + in_stream,
            stops=np.minimum(ends[place], (rows + 1) * context) + in_stream,
            given=(self._begins + self._n_given)[order][place],
            rows=rows - rows[0],
        )

    def _laid_out(self, order: IntArray, shift: int) -> IntArray:
        """The starts of documents, in tokens from the start of the first row."""
        lengths = self._lengths[order]
        if not self._n_given.any():
            return lengths.cumsum() - lengths + shift
        begins, end = [], shift
        for length, n_given in zip(lengths.tolist(), self._n_given[order].tolist(), strict=True):
            room = self._context - end % self._context
            begins.append(end + room if n_given and room < length else end)
            end = begins[-1] + length
        return np.array(begins, dtype=np.int64)


class Packing:
    """The packed rows of documents, in an order that depends only on the seed and the epoch; see `Layout`.

    Args:
        documents: Prompts and texts.
        tokenizer: The run's tokenizer.
        context: Length of a row in tokens (T).
        batch_tokens: Maximum number of tokens per batch; a batch has at least one row.
        facts: Facts about the documents, shown before training.
    """

    def __init__(
        self,
        documents: AnyPairs,
        tokenizer: PlainTokenizer,
        *,
        context: int,
        batch_tokens: int,
        facts: Mapping[str, int] | None = None,
    ) -> None:
        self._documents, self._context = [documents], context
        self._batch_rows = max(1, batch_tokens // context)
        self._pad_id, self._bos_id = tokenizer.pad_id, tokenizer.bos_id
        self._order = Order.of(self._documents)
        self.facts: Mapping[str, int] = {**(facts or {}), "vocabulary": len(tokenizer)}

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[TextBatch]:
        """The shuffled batches of an epoch from number `start`; of earlier ones only the lengths are read."""
        windows = self._order.windows(epoch, seed)
        n_documents, n_behind, number = sum(map(len, windows)), 0, 0
        for place, window in enumerate(windows):
            random = np.random.default_rng((RandomStream.BATCHES, seed, epoch, place))
            plan = Layout(read_bounds(self._documents, window), self._context).shuffled(random)
            n_batches, n_skipped = math.ceil(plan.n_rows / self._batch_rows), max(0, start - number)
            if n_skipped < n_batches:
                ids = read(self._documents, window).ids
                batches = self._batches(ids, plan, random.permutation(plan.n_rows), n_skipped)
                for done, batch in enumerate(batches, n_skipped + 1):
                    behind = n_behind + len(window) * (done / n_batches)
                    yield dataclasses.replace(batch, share=behind / n_documents)
            number, n_behind = number + n_batches, n_behind + len(window)

    def in_order(self) -> Iterator[TextBatch]:
        """All documents once, in order; loads them into memory."""
        documents = read(self._documents, PairRanges.whole([len(each) for each in self._documents]))
        plan = Layout(documents.bounds, self._context).plan(np.arange(len(documents)), 0)
        yield from self._batches(documents.ids, plan, np.arange(plan.n_rows), 0)

    def _batches(self, stream: AnyIntArray, plan: PackingPlan, order: IntArray, start: int) -> Iterator[TextBatch]:
        firsts = np.searchsorted(plan.rows, np.arange(plan.n_rows + 1))  # the first piece of each row
        for begin in range(start * self._batch_rows, len(order), self._batch_rows):
            rows = order[begin : begin + self._batch_rows]
            yield self._batch(stream, plan, [range(firsts[row], firsts[row + 1]) for row in rows])

    def _batch(self, stream: AnyIntArray, plan: PackingPlan, rows: Sequence[range]) -> TextBatch:
        shape = (len(rows), self._context)
        ids, targets = (np.full(shape, filler, dtype=np.int64) for filler in (self._pad_id, IGNORED))
        positions = np.zeros(shape, dtype=np.int64)
        for row, pieces in enumerate(rows):
            begin = 0
            for piece in pieces:
                start, stop = int(plan.starts[piece]), int(plan.stops[piece])
                n_given = min(max(int(plan.given[piece]) - start, 0), stop - start)
                end = begin + stop - start
                ids[row, begin] = self._bos_id
                ids[row, begin + 1 : end] = stream[start : stop - 1]
                targets[row, begin + n_given : end] = stream[start + n_given : stop]
                positions[row, begin:end] = np.arange(end - begin)
                begin = end
        return TextBatch(
            torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(positions), pad_id=self._pad_id
        )
