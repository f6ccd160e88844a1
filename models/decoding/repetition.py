"""Repetition in an output: what a search penalizes or forbids, and how a loop is recognized afterwards."""

from collections.abc import Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.config import DecodeConfig

TIMES = 4  # so often in a row a phrase comes in a loop,
MORE = 2  # and more than so many times as often as any phrase of the source


def repeats(outputs: IntArray, candidates: IntArray, n: int) -> BoolArray:
    """Which candidates would end an n-gram that their output has already.

    Args:
        outputs: The tokens of each hypothesis so far, (B, W, T).
        candidates: For the next token of each, (B, W, N).
        n: Tokens of an n-gram; with 1, whether the token itself is there.

    Returns:
        (B, W, N).
    """
    B, W, T = outputs.shape
    n_starts = T - n + 1
    if n_starts < 1:
        return np.zeros(candidates.shape, dtype=bool)
    same: BoolArray = np.ones((B, W, n_starts), dtype=bool)
    for place in range(n - 1):
        same &= outputs[:, :, place : place + n_starts] == outputs[:, :, n_starts + place, None]
    ends = outputs[:, :, None, n - 1 :]  # (B, W, 1, n_starts)
    found: BoolArray = ((candidates[..., None] == ends) & same[:, :, None]).any(axis=3)
    return found


def without_repetition(
    outputs: IntArray, candidates: IntArray, log_probs: FloatArray, config: DecodeConfig
) -> FloatArray:
    """The log-probabilities of candidates, (B, W, N), less what the configuration takes off for repetition."""
    if config.repetition_penalty is not None:
        penalty = np.float32(config.repetition_penalty)
        log_probs = np.where(repeats(outputs, candidates, 1), log_probs * penalty, log_probs)
    if config.no_repeat_ngram is not None:
        log_probs = np.where(repeats(outputs, candidates, config.no_repeat_ngram), np.float32(-np.inf), log_probs)
    return log_probs


def is_loop(output: Sequence[int], source: Sequence[int]) -> bool:
    """Whether an output has a phrase again and again that its source does not have so often."""
    if len(output) - len(set(output)) < TIMES - 1:  # as nearly always: no token comes so often
        return False
    times = most_times(output)
    return times >= TIMES and times > MORE * most_times(source)


def most_times(tokens: Sequence[int]) -> int:
    """How often in a row the phrase comes that comes most often in a row; 1 in a text without repetition."""
    row = np.asarray(tokens)
    most = min(len(row), 1)
    for size in range(1, len(row) // 2 + 1):
        if len(row) // size <= most:  # longer ones have no room
            break
        same = np.flatnonzero(np.concatenate([[True], row[size:] != row[:-size], [True]]))
        most = max(most, (int(np.diff(same).max()) - 1) // size + 1)
    return most
