"""Bucketing: grouping pairs of similar length into batches (section 5.1)."""

import numpy as np

from heed.transformer.data.batching.pairs import IntArray


def plan_batches(src_lengths: IntArray, tgt_lengths: IntArray, *, batch_tokens: int) -> list[IntArray]:
    """Group pairs by length into batches whose padded sides have at most `batch_tokens` tokens each.

    Lengths include the special token of each side. A pair longer than the budget is a batch of its own.

    Returns:
        For each batch the indices of its pairs.
    """
    lengths, order = sorted_by_length(src_lengths, tgt_lengths)
    return np.split(order, cuts(lengths, batch_tokens)[:-1])


def sorted_by_length(src_lengths: IntArray, tgt_lengths: IntArray) -> tuple[IntArray, IntArray]:
    """The lengths of the longer sides of pairs, with the special token, ascending, and the pairs' indices."""
    lengths = np.maximum(src_lengths, tgt_lengths) + 1
    order = np.lexsort((src_lengths, tgt_lengths, lengths))
    return lengths[order], order


def cuts(lengths: IntArray, batch_tokens: int) -> list[int]:
    """The ends of batches of sorted lengths; each takes as many as the budget allows, and at least one."""
    found, start = [], 0
    while start < len(lengths):
        most = max(1, batch_tokens // int(lengths[start]))  # later ones are not shorter
        sizes = lengths[start : start + most] * np.arange(1, min(most, len(lengths) - start) + 1)
        start += max(1, int(np.searchsorted(sizes, batch_tokens, side="right")))
        found.append(start)
    return found


def even_cuts(lengths: IntArray, n_batches: int) -> list[int]:
    """The ends of exactly n batches of sorted lengths, with the smallest sufficient budget; needs n pairs or more."""
    low, high = int(lengths[-1]), int(lengths[-1]) * len(lengths)
    while low < high:
        budget = (low + high) // 2
        low, high = (low, budget) if len(cuts(lengths, budget)) <= n_batches else (budget + 1, high)
    found = cuts(lengths, low)
    while len(found) < n_batches:  # equal lengths may have fitted several at once
        sizes = np.diff([0, *found])
        widest = int(sizes.argmax())
        found.insert(widest, found[widest] - int(sizes[widest]) // 2)
    return found
