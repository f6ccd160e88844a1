"""Repetition in outputs: penalties and bans during search, and detection of loops afterwards."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.config import DecodeConfig

TIMES = 4  # consecutive repetitions of a phrase that make a loop,
MORE = 2  # if they are more than this factor of those of any phrase of the source


def repeats(outputs: IntArray, candidates: IntArray, n: int) -> BoolArray:
    """Candidates that would complete an n-gram that their output already has.

    Args:
        outputs: The tokens of each hypothesis so far, (B, W, T).
        candidates: Candidates for the next token of each, (B, W, N).
        n: Length of n-grams in tokens; with 1, whether the token itself has occurred.

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
    """The log-probabilities of candidates, (B, W, N), after penalties and bans for repetition."""
    if config.repetition_penalty is not None:
        penalty = np.float32(config.repetition_penalty)
        log_probs = np.where(repeats(outputs, candidates, 1), log_probs * penalty, log_probs)
    if config.no_repeat_ngram is not None:
        log_probs = np.where(repeats(outputs, candidates, config.no_repeat_ngram), np.float32(-np.inf), log_probs)
    return log_probs


def may_loop(output: Sequence[int]) -> bool:
    """Whether a token of an output occurs often enough; seen in a tenth of the time of a closer look."""
    n_repeated = len(output) - len(set(output))
    return n_repeated >= TIMES - 1 and max(Counter(output).values()) >= TIMES


def is_loop(output: Sequence[int], source: Sequence[int]) -> bool:
    """Whether an output repeats a phrase in a loop that its source does not have."""
    if not may_loop(output):
        return False
    times = most_times(output)
    return times >= TIMES and times > MORE * most_times(source)


def most_times(tokens: Sequence[int]) -> int:
    """The largest number of consecutive repetitions of any phrase; 1 without repetition."""
    row = np.asarray(tokens)
    most = min(len(row), 1)
    for size in range(1, len(row) // 2 + 1):
        if len(row) // size <= most:  # longer ones do not fit
            break
        same = np.flatnonzero(np.concatenate([[True], row[size:] != row[:-size], [True]]))
        most = max(most, (int(np.diff(same).max()) - 1) // size + 1)
    return most
