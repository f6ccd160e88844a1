"""How pairs are cut into batches (section 5.1)."""

import numpy as np

from heed.transformer.data.batching.pairs import IntArray


def plan_batches(src_lengths: IntArray, tgt_lengths: IntArray, *, batch_tokens: int) -> list[IntArray]:
    """Cut pairs, sorted by length, into batches whose padded sides have at most `batch_tokens` tokens each.

    Lengths count the one special token that each side gets. A pair longer than the budget is a batch by itself.

    Returns:
        For each batch the indices of its pairs.
    """
    lengths, order = sorted_by_length(src_lengths, tgt_lengths)
    return np.split(order, cuts(lengths, batch_tokens)[:-1])


def sorted_by_length(src_lengths: IntArray, tgt_lengths: IntArray) -> tuple[IntArray, IntArray]:
    """The length of the longer side of pairs, with its special token, ascending; and the pair of each."""
    lengths = np.maximum(src_lengths, tgt_lengths) + 1
    order = np.lexsort((src_lengths, tgt_lengths, lengths))
    return lengths[order], order


def cuts(lengths: IntArray, batch_tokens: int) -> list[int]:
    """Where batches of sorted lengths end; each takes as many as its budget allows, and at least one."""
    found, start = [], 0
    while start < len(lengths):
        most = max(1, batch_tokens // int(lengths[start]))  # none later is shorter
        sizes = lengths[start : start + most] * np.arange(1, min(most, len(lengths) - start) + 1)
        start += max(1, int(np.searchsorted(sizes, batch_tokens, side="right")))
        found.append(start)
    return found


def even_cuts(lengths: IntArray, n_batches: int) -> list[int]:
    """Where so many batches of sorted lengths end, by the smallest budget that suffices; there are as many pairs."""
    low, high = int(lengths[-1]), int(lengths[-1]) * len(lengths)
    while low < high:
        budget = (low + high) // 2
        low, high = (low, budget) if len(cuts(lengths, budget)) <= n_batches else (budget + 1, high)
    found = cuts(lengths, low)
    while len(found) < n_batches:  # of pairs of equal length, several may have fitted at once
        sizes = np.diff([0, *found])
        widest = int(sizes.argmax())
        found.insert(widest, found[widest] - int(sizes[widest]) // 2)
    return found
