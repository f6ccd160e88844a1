"""Batches of text: documents one after another in rows of equal length, so that nothing is padding."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from heed.models.text_tokenizer import TextTokenizer
from heed.transformer.corpus import IntArray
from heed.transformer.documents import TokenStream


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


class Packing:
    """The rows of a stream, in an order that is a function of seed and epoch alone.

    A piece is read from the beginning token on, also where it is the rest of a document that was too long for a row:
    what a model sees first is always that token. In each epoch documents are cut at other places.

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
        self._begins = stream.lengths.cumsum() - stream.lengths  # where each document begins in the stream

    @property
    def facts(self) -> dict[str, int]:
        """What a person would like to know of them before training."""
        return {"documents": len(self._stream), "tokens": len(self._stream.ids), "vocabulary": self._vocabulary}

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[TextBatch]:
        """The batches of an epoch, from number `start` on, shuffled."""
        random = np.random.default_rng((seed, epoch))
        plan = self._plan(random.permutation(len(self._stream)), int(random.integers(self._context)))
        yield from self._batches(plan, random.permutation(plan.rows[-1] + 1), start)

    def in_order(self) -> Iterator[TextBatch]:
        """All documents once, in their order."""
        plan = self._plan(np.arange(len(self._stream)), 0)
        yield from self._batches(plan, np.arange(plan.rows[-1] + 1), 0)

    def _plan(self, order: IntArray, shift: int) -> Plan:
        """Cut documents, in some order, into rows, of which the first lacks `shift` tokens."""
        lengths = self._stream.lengths[order]
        ends = lengths.cumsum()  # of the documents, where they stand one after another in that order
        cuts = np.union1d(ends, np.arange(self._context - shift, ends[-1], self._context))
        begins = np.concatenate([[0], cuts[:-1]])
        place = np.searchsorted(ends, begins, side="right")  # the document of each piece
        documents = order[place]
        starts = self._begins[documents] + begins - (ends - lengths)[place]
        return Plan(
            starts=starts,
            stops=starts + cuts - begins,
            given=self._begins[documents] + self._stream.n_given[documents],
            rows=(begins + shift) // self._context,
        )

    def _batches(self, plan: Plan, order: IntArray, start: int) -> Iterator[TextBatch]:
        firsts = np.searchsorted(plan.rows, np.arange(plan.rows[-1] + 2))  # the first piece of each row
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
