"""How the next token is drawn from what a language model predicts.

What is drawn from is narrowed in the order that is usual: repetition penalty, ban of repeated n-grams, temperature,
top-k, top-p, min-p.
"""

import dataclasses
import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError

COLDEST, HOTTEST = 0.01, 100.0  # temperatures beyond these are greedy, or all alike, but for rounding
BLOCK = 256  # weights added up at a time

Filter = Callable[[FloatArray, Any], IntArray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How to go on with a prompt; the defaults draw from the model's own distribution."""

    temperature: float = 1.0  # log-probabilities are divided by it; 0: always the likeliest token (greedy)
    top_k: int | None = None  # draw among so many of the likeliest tokens (Fan et al., 2018, arXiv 1805.04833)
    top_p: float = 1.0  # among the fewest with this probability together (Holtzman et al., 2020, arXiv 1904.09751)
    min_p: float = 0.0  # among those with this share of the likeliest's probability (arXiv 2407.01082)
    repetition_penalty: float = 1.0  # log-probabilities of tokens that were there are times it (arXiv 1909.05858)
    no_repeat_ngram: int | None = None  # no so many tokens in a row twice (Paulus et al., 2018, arXiv 1705.04304)
    max_tokens: int | None = None  # of a sample; None: as many as the context has room for
    stop: tuple[str, ...] = ()  # texts that end a sample, and are no part of it
    seed: int | None = None  # of the random numbers; None: others each time
    n: int = 1  # samples of each prompt

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
    """The same with a seed, drawn by the operating system where there is none."""
    return config if config.seed is not None else dataclasses.replace(config, seed=secrets.randbits(32))


def randoms(seed: int, prompt: int, sample: int) -> np.random.Generator:
    """The random numbers of a sample: what else is in its batch changes nothing."""
    return np.random.default_rng((seed, prompt, sample))


def choose(
    log_probs: FloatArray, before: Sequence[int] | IntArray, config: SampleConfig, random: np.random.Generator
) -> int:
    """The next token.

    Args:
        log_probs: Of every token, (V,); -inf for what may not come.
        before: The tokens of the prompt and of the sample so far.
        config: How to draw.
        random: Of the sample; each call that draws takes one number of it.

    Raises:
        ModelError: The network computed no numbers.
    """
    scores = log_probs  # which is not written to; a copy of a large vocabulary takes its time
    if config.repetition_penalty != 1:
        scores = penalized(scores, np.asarray(before), config.repetition_penalty)
    if config.no_repeat_ngram is not None:
        scores = scores.copy()
        scores[repeating(np.asarray(before), config.no_repeat_ngram)] = -np.inf
    best = int(scores.argmax())
    if not math.isfinite(scores[best]):
        raise ModelError("the network computed no numbers (NaN): its weights are damaged, or too large for float16")
    if config.temperature == 0:
        return best
    scores = scores - scores[best]
    scores /= config.temperature
    ids = None  # of the scores; None: each its own place
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
    """A copy in which the log-probabilities of tokens that were there are times the penalty.

    The paper divides logits, positive ones; log-probabilities are negative all, and do not depend on where 0 lies.
    """
    scores = log_probs.copy()
    scores[np.unique(before)] *= np.float32(penalty)
    return scores


def repeating(before: IntArray, n: int) -> IntArray:
    """The tokens that would end n tokens in a row that were there before."""
    n_starts = len(before) - n + 1
    if n_starts < 1:
        return before[:0]
    same: BoolArray = np.ones(n_starts, dtype=bool)
    for place in range(n - 1):
        same &= before[place : place + n_starts] == before[n_starts + place]
    return before[n - 1 :][same]


def top_k(scores: FloatArray, k: int) -> IntArray:
    """The places of the k best, ascending; of equal ones the first."""
    if k >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    if len(places) > k:  # not all that are equal to the least belong to it
        equal = np.flatnonzero(scores[places] == least)
        places = np.delete(places, equal[k - len(places) :])
    return places


def top_p(scores: FloatArray, p: float) -> IntArray:
    """The places of the fewest that have probability p together, ascending; of equal ones the first."""
    weights = np.exp(scores - scores.max())
    total = weights.sum(dtype=np.float64)
    # What has less than an equal part of 1 - p, has less than 1 - p together: only the rest must be sorted.
    rest = np.sort(weights[weights >= (1 - p) / len(weights) * total])[::-1]
    return top_k(scores, passing(rest, np.nextafter(p * total, 0)) + 1)


def min_p(scores: FloatArray, share: float) -> IntArray:
    """The places of those with at least this share of the best's probability, ascending."""
    return np.flatnonzero(scores >= scores.max() + np.log(share, dtype=np.float32))


def draw(scores: FloatArray, random: np.random.Generator) -> int:
    """A place, drawn by the softmax of the scores, of which the greatest is 0."""
    weights = np.exp(scores)
    return passing(weights, random.random() * weights.sum(dtype=np.float64))


def passing(weights: FloatArray, amount: float) -> int:
    """The first place up to which the weights add up to more than an amount; at most to what they all add up to."""
    # By the sums of blocks: adding up one by one takes ten times as long.
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), BLOCK), dtype=np.float64))
    block = int(np.searchsorted(sums, min(amount, np.nextafter(sums[-1], 0)), side="right"))
    within = weights[block * BLOCK : (block + 1) * BLOCK]
    left = amount - (sums[block - 1] if block else 0)
    place = int(np.searchsorted(np.cumsum(within, dtype=np.float64), left, side="right"))
    return block * BLOCK + (place if place < len(within) else int(within.nonzero()[0][-1]))  # but for rounding
