"""Batches of text: documents one after another in rows of equal length, so that next to nothing is padding."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from heed.models.text_tokenizer import TextTokenizer
from heed.transformer.documents import TokenStream
from heed.transformer.pairs import IntArray


@dataclasses.dataclass(frozen=True)
class TextBatch:
    """Rows of token ids, (B, T)."""

    ids: Tensor  # what the model reads
    targets: Tensor  # what it must predict; padding where nothing is to be learnt
    positions: Tensor  # of each token in its piece of a document, from 0
    n_tokens: int  # targets that are no padding


@dataclasses.dataclass(frozen=True)
class Plan:
    """Pieces of documents, in the order in which they fill the rows."""

    starts: IntArray  # where each piece begins in the stream
    stops: IntArray  # and ends
    given: IntArray  # up to where in the stream nothing is to be learnt
    rows: IntArray  # the row of each piece, ascending

    @property
    def n_rows(self) -> int:
        """How many rows they fill."""
        return int(self.rows[-1]) + 1


class Packing:
    """The rows of a stream, in an order that is a function of seed and epoch alone.

    A piece is read from the beginning token on, also where it is the rest of a document that was too long for a row:
    what a model sees first is always that token. In each epoch documents are cut at other places; but not those that
    have a prompt, which would be lost to the rest. Of a prompt that leaves a row too little room, the end is read.

    Args:
        stream: The documents.
        tokenizer: Theirs.
        context: Tokens of a row (T).
        batch_tokens: Tokens of a batch, at most, but for a single row.
    """

    def __init__(self, stream: TokenStream, tokenizer: TextTokenizer, *, context: int, batch_tokens: int) -> None:
        self._stream, self._context = stream, context
        self._batch_rows = max(1, batch_tokens // context)
        self._pad_id, self._bos_id = tokenizer.pad_id, tokenizer.bos_id
        self._vocabulary = len(tokenizer)
        skipped = np.clip(stream.lengths - context, 0, stream.n_given)  # the begins of prompts that are too long
        self._begins = stream.lengths.cumsum() - stream.lengths + skipped  # where each document begins in the stream
        self._lengths, self._n_given = stream.lengths - skipped, stream.n_given - skipped

    @property
    def facts(self) -> dict[str, int]:
        """What a person would like to know of them before training."""
        return {"documents": len(self._stream), "tokens": len(self._stream.ids), "vocabulary": self._vocabulary}

    def n_batches(self, epoch: int, seed: int) -> int:
        """How many batches an epoch has."""
        plan, _ = self._shuffled(epoch, seed)
        return math.ceil(plan.n_rows / self._batch_rows)

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[TextBatch]:
        """The batches of an epoch, from number `start` on, shuffled."""
        plan, random = self._shuffled(epoch, seed)
        yield from self._batches(plan, random.permutation(plan.n_rows), start)

    def in_order(self) -> Iterator[TextBatch]:
        """All documents once, in their order."""
        plan = self._plan(np.arange(len(self._stream)), 0)
        yield from self._batches(plan, np.arange(plan.n_rows), 0)

    def _shuffled(self, epoch: int, seed: int) -> tuple[Plan, np.random.Generator]:
        """The rows of an epoch, and what shuffles them."""
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(len(self._stream))
        return self._plan(order, int(random.integers(self._context))), random

    def _plan(self, order: IntArray, shift: int) -> Plan:
        """Cut documents, in some order, into rows, of which the first lacks `shift` tokens."""
        context = self._context
        begins = self._laid_out(order, shift)
        ends = begins + self._lengths[order]
        n_pieces = (ends - 1) // context - begins // context + 1
        place = np.repeat(np.arange(len(order)), n_pieces)  # the document of each piece
        number = np.arange(len(place)) - (n_pieces.cumsum() - n_pieces)[place]  # of the piece in its document
        rows = (begins // context)[place] + number
        in_stream = (self._begins[order] - begins)[place]
        return Plan(
            starts=np.maximum(begins[place], rows * context) + in_stream,
            stops=np.minimum(ends[place], (rows + 1) * context) + in_stream,
            given=(self._begins + self._n_given)[order][place],
            rows=rows - rows[0],
        )

    def _laid_out(self, order: IntArray, shift: int) -> IntArray:
        """Where documents begin, counted in tokens from the begin of the first row."""
        begins, end = [], shift
        for length, n_given in zip(self._lengths[order], self._n_given[order], strict=True):
            room = self._context - end % self._context
            begins.append(end + room if n_given and room < length else end)
            end = begins[-1] + int(length)
        return np.array(begins, dtype=np.int64)

    def _batches(self, plan: Plan, order: IntArray, start: int) -> Iterator[TextBatch]:
        firsts = np.searchsorted(plan.rows, np.arange(plan.n_rows + 1))  # the first piece of each row
        for begin in range(start * self._batch_rows, len(order), self._batch_rows):
            rows = order[begin : begin + self._batch_rows]
            yield self._batch(plan, [range(firsts[row], firsts[row + 1]) for row in rows])

    def _batch(self, plan: Plan, rows: list[range]) -> TextBatch:
        shape = (len(rows), self._context)
        ids, targets = (np.full(shape, self._pad_id, dtype=np.int64) for _ in range(2))
        positions = np.zeros(shape, dtype=np.int64)
        for row, pieces in enumerate(rows):
            begin = 0
            for piece in pieces:
                start, stop = int(plan.starts[piece]), int(plan.stops[piece])
                n_given = min(max(int(plan.given[piece]) - start, 0), stop - start)
                end = begin + stop - start
                ids[row, begin] = self._bos_id
                ids[row, begin + 1 : end] = self._stream.ids[start : stop - 1]
                targets[row, begin + n_given : end] = self._stream.ids[start + n_given : stop]
                positions[row, begin:end] = np.arange(end - begin)
                begin = end
        n_tokens = int((targets != self._pad_id).sum())
        return TextBatch(torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(positions), n_tokens)
