"""Batches of sources, and the slots of their keys and values."""

from collections.abc import Iterator, Sequence

import numpy as np

from heed.models.arrays import BoolArray, IntArray

LEAVING = 0.12  # share of finished rows at which a batch is compacted
SLOTS = 16  # slots that every row gains when one row runs out
BATCH_TOKENS = 8192  # limit of tokens per batch, padding included, so that memory does not grow with long lines


def plan_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Group sources of similar length into batches with little padding; yields their indices."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == batch_size or lengths[i] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def padded(rows: Sequence[list[int]]) -> tuple[IntArray, BoolArray]:
    """Rows of token ids as a right-padded array, (B, S), and its mask, True at real tokens."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = [token for row in rows for token in row]
    return ids, mask


def place(seen: BoolArray) -> tuple[IntArray, BoolArray]:
    """Find slots for the next tokens, given the slots that the tokens before them see, (B, W, C).

    Returns:
        A free slot for each token, (B, W), and the slots it sees, (B, W, C); C grows if slots run out.
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
    """The unfinished rows, with the last ones moved into the places of finished ones, so that few rows move."""
    n_rows = int((~done).sum())
    rows = np.arange(n_rows)
    rows[done[:n_rows]] = np.flatnonzero(~done[n_rows:]) + n_rows
    return rows
