"""Hypothesis: an output and its score."""

from typing import NamedTuple

import numpy as np

from heed.models.arrays import FloatArray, IntArray
from heed.models.decoding.config import DecodeConfig, SpecialIds


class Hypothesis(NamedTuple):
    """An output and its score; a repetition penalty is part of its log-probability."""

    tokens: list[int]  # without special tokens
    log_prob: float  # of the tokens and, if the network ended the output, of the end token
    score: float  # log_prob divided by the length penalty


def length_penalty(length: IntArray | int, alpha: float, *, by_length: bool = False) -> FloatArray:
    """((5 + length) / 6)^α, what a log-probability is divided by (Wu et al., 2016, arXiv 1609.08144, equation 14).

    `by_length`: length^α instead.
    """
    return np.asarray((length if by_length else (5 + length) / 6) ** alpha, dtype=np.float32)


def search_penalty(length: IntArray | int, config: DecodeConfig, special: SpecialIds) -> FloatArray:
    """The length penalty of a search's outputs; what they are forced to begin with counts."""
    return length_penalty(length + len(special.forced), config.length_penalty, by_length=bool(config.by_length))
