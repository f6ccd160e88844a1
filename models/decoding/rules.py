"""Rules of a search: which tokens may follow an output, and what repetition costs them."""

from collections.abc import Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.decoding.repetition import without_repetition

FEW = 16  # tokens that are looked for one by one


class Rules:
    """The rules for the outputs of a batch of sentences.

    Args:
        n_sentences: Their number; each has one hypothesis at first.
        config: Search settings.
        special: The special token ids.
    """

    def __init__(self, n_sentences: int, config: DecodeConfig, special: SpecialIds) -> None:
        self.ends = (special.eos_id, *special.ends)
        self._config, self._special = config, special
        # Hypotheses without text, which may not end.
        self._blank: BoolArray = np.full((n_sentences, 1), special.blank is not None)
        self._guarded = config.repetition_penalty is not None or config.no_repeat_ngram is not None
        self._outputs: IntArray = np.zeros((n_sentences, 1, 0), dtype=np.int64)  # (B, W, T), if repetition is penalized

    @property
    def n_more(self) -> int:
        """The number of candidates that may be forbidden, or lose their places to others."""
        return len(self.ends) + len(self._special.suppressed) + self._outputs.shape[2]

    def allowed(self, log_probs: FloatArray, ids: IntArray, length: int) -> FloatArray:
        """The log-probabilities of candidates, (B, W, N), -inf for forbidden ones, after some tokens of output."""
        if self._guarded:
            log_probs = without_repetition(self._outputs, ids, log_probs, self._config)
        refused = among(ids, self._special.suppressed)
        if self._blank.any():
            refused |= self._blank[:, :, None] & among(ids, self.ends)
        if length + len(self._special.forced) < (self._config.min_length or 0):
            refused |= among(ids, self.ends)
        return np.where(refused, np.float32(-np.inf), log_probs) if refused.any() else log_probs

    def follow(self, parents: IntArray, tokens: IntArray) -> None:
        """Record the outputs that were chosen: the hypotheses that they extend, and their last tokens, (B, W)."""
        rows = np.arange(len(parents))[:, None]
        if self._special.blank is not None:
            self._blank = self._blank[rows, parents] & among(tokens, self._special.blank)
        if self._guarded:
            self._outputs = np.concatenate([self._outputs[rows, parents], tokens[:, :, None]], axis=2)

    def keep(self, rows: IntArray) -> None:
        """Keep only these sentences, in this order."""
        self._blank, self._outputs = self._blank[rows], self._outputs[rows]


def among(ids: IntArray, tokens: Sequence[int]) -> BoolArray:
    """Which ids are among some tokens: `np.isin`, which takes ten times as long for so few."""
    if len(tokens) > FEW:
        return np.isin(ids, tokens)
    found = np.zeros(ids.shape, dtype=bool)
    for token in tokens:
        found |= ids == token
    return found
