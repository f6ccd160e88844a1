"""Batches of sources, and the slots that their keys and values stand in."""

from collections.abc import Iterator, Sequence

import numpy as np

from heed.models.arrays import BoolArray, IntArray

LEAVING = 0.25  # share of a batch that is done when the rest goes on in fewer rows
SLOTS = 16  # places for keys and values, of which every row gets so many more when one runs out
BATCH_TOKENS = 8192  # and tokens, padding included: long lines share memory that does not grow with them


def plan_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Batches of sources of about equal length, so that little of one is padding; yields their indices."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == batch_size or lengths[i] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def padded(rows: Sequence[list[int]]) -> tuple[IntArray, BoolArray]:
    """Rows of token ids as an array, (B, S), and which of its places hold one of theirs: the first ones of each row."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = [token for row in rows for token in row]
    return ids, mask


def place(seen: BoolArray) -> tuple[IntArray, BoolArray]:
    """Find room for the next tokens, given which slots those before them see, (B, W, C).

    Returns:
        A free slot for each token, (B, W), and which slots it sees, (B, W, C); where slots are wanting, C has grown.
    """
    W, taken = seen.shape[1], seen.any(axis=1)
    lacking = W - (~taken).sum(axis=1).min()
    if lacking > 0:
        more = -(-lacking // SLOTS) * SLOTS
        seen = np.pad(seen, ((0, 0), (0, 0), (0, more)))
        taken = np.pad(taken, ((0, 0), (0, more)))
    slots = np.argsort(taken, axis=1, kind="stable")[:, :W]
    mask = seen.copy()
    mask[np.arange(len(mask))[:, None], np.arange(W), slots] = True
    return slots, mask


def going_on(done: BoolArray) -> IntArray:
    """The rows that are not done, the last ones in the places of those that are: so the fewest have to move."""
    n_rows = int((~done).sum())
    rows = np.arange(n_rows)
    rows[done[:n_rows]] = np.flatnonzero(~done[n_rows:]) + n_rows
    return rows
