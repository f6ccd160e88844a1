"""Sampling of the next token from a language model's distribution.

The filters apply in the usual order: repetition penalty, ban of repeated n-grams, temperature, top-k, top-p, min-p.
"""

import dataclasses
import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.records import record

COLDEST, HOTTEST = 0.01, 100.0  # temperatures beyond these amount to greedy or uniform sampling, but for rounding
BLOCK = 256  # weights summed at a time

Filter = Callable[[FloatArray, Any], IntArray]


@record(frozen=True, kw_only=True)
class SampleConfig:
    """Settings of sampling; the defaults sample from the model's distribution."""

    temperature: float = 1.0  # divisor of log-probabilities; 0: always the most probable token (greedy)
    top_k: int | None = None  # sample from the k most probable tokens (Fan et al., 2018, arXiv 1805.04833)
    top_p: float = (
        1.0  # nucleus sampling: the smallest set with this probability (Holtzman et al., 2020, arXiv 1904.09751)
    )
    min_p: float = 0.0  # drop tokens below this share of the top token's probability (arXiv 2407.01082)
    repetition_penalty: float = 1.0  # factor of the log-probabilities of tokens that have occurred (arXiv 1909.05858)
    no_repeat_ngram: int | None = None  # forbid repeating any N-gram (Paulus et al., 2018, arXiv 1705.04304)
    max_tokens: int | None = None  # of a sample; None: up to the end of the context
    stop: tuple[str, ...] = ()  # texts that end a sample and are not part of it
    seed: int | None = None  # of the random numbers; None: a new one each time
    n: int = 1  # samples for each prompt

    def __post_init__(self) -> None:
        fits = {
            f"temperature must be 0 or a number from {COLDEST:g} to {HOTTEST:g}": self.temperature == 0
            or COLDEST <= self.temperature <= HOTTEST,
            "top_k must be at least 1": self.top_k is None or self.top_k >= 1,
            "top_p must be a number above 0, at most 1": 0 < self.top_p <= 1,
            "min_p must be a number from 0 to 1": 0 <= self.min_p <= 1,
            "repetition_penalty must be a number from 1 to 100": 1 <= self.repetition_penalty <= 100,
            "no_repeat_ngram must be at least 1": self.no_repeat_ngram is None or self.no_repeat_ngram >= 1,
            "max_tokens must be at least 1": self.max_tokens is None or self.max_tokens >= 1,
            "stop must hold no empty text": all(self.stop),
            "seed must be at least 0": self.seed is None or self.seed >= 0,
            "n must be at least 1": self.n >= 1,
        }
        wrong = [f"{words}, not {getattr(self, words.split()[0])!r}" for words, fit in fits.items() if not fit]
        if wrong:
            raise ModelError("; ".join(wrong))


def seeded(config: SampleConfig) -> SampleConfig:
    """The same settings with a seed; if there is none, the operating system draws one."""
    return config if config.seed is not None else dataclasses.replace(config, seed=secrets.randbits(32))


def randoms(seed: int, prompt: int, sample: int) -> np.random.Generator:
    """The random numbers of a sample, which do not depend on the rest of its batch."""
    return np.random.default_rng((seed, prompt, sample))


def choose(
    log_probs: FloatArray, before: Sequence[int] | IntArray, config: SampleConfig, random: np.random.Generator
) -> int:
    """The next token.

    Args:
        log_probs: Those of every token, (V,); -inf for forbidden ones.
        before: The tokens of the prompt and of the sample so far.
        config: Sampling settings.
        random: The sample's random numbers; each call that samples takes one.

    Raises:
        ModelError: The network computed NaN or infinity.
    """
    scores = log_probs  # not written to, because copying a large vocabulary is slow
    if config.repetition_penalty != 1:
        scores = penalized(scores, np.asarray(before), config.repetition_penalty)
    if config.no_repeat_ngram is not None:
        scores = scores.copy()
        scores[repeating(np.asarray(before), config.no_repeat_ngram)] = -np.inf
    best = int(scores.argmax())
    if not math.isfinite(scores[best]):
        raise ModelError("the network computed NaN or infinity: its weights are damaged, or too large for float16")
    if config.temperature == 0:
        return best
    scores = scores - scores[best]
    scores /= config.temperature
    ids = None  # token ids of the scores; None: their own indices
    for narrow, limit, no_limit in (
        (top_k, config.top_k, None),
        (top_p, config.top_p, 1),
        (min_p, config.min_p, 0),
    ):
        if limit != no_limit:
            places = cast("Filter", narrow)(scores, limit)
            ids, scores = places if ids is None else ids[places], scores[places]
    place = draw(scores, random)
    return place if ids is None else int(ids[place])


def penalized(log_probs: FloatArray, before: IntArray, penalty: float) -> FloatArray:
    """A copy with the log-probabilities of tokens that have occurred multiplied by the penalty.

    The paper divides positive logits; log-probabilities are all negative, and do not depend on the logits' offset.
    """
    scores = log_probs.copy()
    scores[np.unique(before)] *= np.float32(penalty)
    return scores


def repeating(before: IntArray, n: int) -> IntArray:
    """The tokens that would complete an n-gram that has occurred."""
    n_starts = len(before) - n + 1
    if n_starts < 1:
        return before[:0]
    same: BoolArray = np.ones(n_starts, dtype=bool)
    for place in range(n - 1):
        same &= before[place : place + n_starts] == before[n_starts + place]
    return before[n - 1 :][same]


def top_k(scores: FloatArray, k: int) -> IntArray:
    """The indices of the k best, ascending; ties go to the first."""
    if k >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    if len(places) > k:  # not all that equal the smallest belong to it
        equal = np.flatnonzero(scores[places] == least)
        places = np.delete(places, equal[k - len(places) :])
    return places


def top_p(scores: FloatArray, p: float) -> IntArray:
    """The indices of the smallest set with probability p, ascending; ties go to the first."""
    weights = np.exp(scores - scores.max())
    total = weights.sum(dtype=np.float64)
    # Tokens below an equal share of 1 - p have less than 1 - p together, so only the rest must be sorted.
    rest = np.sort(weights[weights >= (1 - p) / len(weights) * total])[::-1]
    return top_k(scores, passing(rest, np.nextafter(p * total, 0)) + 1)


def min_p(scores: FloatArray, share: float) -> IntArray:
    """The indices of tokens with at least this share of the top probability, ascending."""
    return np.flatnonzero(scores >= scores.max() + np.log(share, dtype=np.float32))


def draw(scores: FloatArray, random: np.random.Generator) -> int:
    """An index sampled from the softmax of scores, whose maximum is 0."""
    weights = np.exp(scores)
    return passing(weights, random.random() * weights.sum(dtype=np.float64))


def passing(weights: FloatArray, amount: float) -> int:
    """The first index at which the cumulative sum of the weights exceeds an amount, or the last one."""
    # With sums of blocks, because a running sum takes ten times as long.
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), BLOCK), dtype=np.float64))
    block = int(np.searchsorted(sums, min(amount, np.nextafter(sums[-1], 0)), side="right"))
    within = weights[block * BLOCK : (block + 1) * BLOCK]
    left = amount - (sums[block - 1] if block else 0)
    place = int(np.searchsorted(np.cumsum(within, dtype=np.float64), left, side="right"))
    return block * BLOCK + (place if place < len(within) else int(within.nonzero()[0][-1]))  # only through rounding
