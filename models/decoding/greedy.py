"""Greedy search: the likeliest next token, again and again."""

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.batching import SLOTS
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.decoding.hypothesis import Hypothesis, search_penalty
from heed.models.decoding.rules import Rules, among
from heed.models.errors import ModelError
from heed.models.runtime.protocol import SearchState


class Greedy:
    """The only hypotheses of a batch of sentences: what `Beams` finds with one beam, with half of its calls of NumPy.

    Args:
        first: The token before each output, not part of it, (B,).
        max_lengths: The length limit of each sentence, in tokens, (B,).
        config: Search settings.
        special: The special token ids.
        floors: Log-probability below which a hypothesis is dropped, (B,); its sentence then has none.
    """

    def __init__(
        self, first: IntArray, max_lengths: IntArray, config: DecodeConfig, special: SpecialIds, floors: FloatArray
    ) -> None:
        B = len(first)
        self.done: BoolArray = np.zeros(B, dtype=bool)
        self._config, self._special, self._rules = config, special, Rules(B, config, special)
        self._max_lengths, self._floors = max_lengths, floors
        self._n_steps = 0
        self._tokens = first
        self._log_probs: FloatArray = np.zeros(B, dtype=np.float32)
        self._outputs: IntArray = np.zeros((B, SLOTS), dtype=np.int64)  # (B, C), of which `_n_steps` are written
        self._lengths: IntArray = np.zeros(B, dtype=np.int64)  # tokens of an output, its end included; 0: none yet

    def step(self, state: SearchState) -> None:
        """Let a state predict, and extend the hypotheses."""
        n, B = self._n_steps, len(self.done)
        if n == self._outputs.shape[1]:
            self._outputs = np.pad(self._outputs, ((0, 0), (0, SLOTS)))
        slots, mask = np.full((B, 1), n), np.zeros((B, 1, self._outputs.shape[1]), dtype=bool)
        mask[:, :, : n + 1] = True
        live = ~self.done[:, None]
        log_probs, ids = state.step(self._tokens[:, None], n, slots, mask, 1 + self._rules.n_more, live=live)
        self._advance(self._rules.allowed(log_probs, ids, n)[:, 0], ids[:, 0])

    def _advance(self, log_probs: FloatArray, ids: IntArray) -> None:
        """Take the likeliest of the candidates, (B, N)."""
        rows, best = np.arange(len(ids)), log_probs.argmax(axis=1)
        log_probs, self._tokens = self._log_probs + log_probs[rows, best], ids[rows, best]
        self._log_probs = np.where(self.done, self._log_probs, log_probs)
        self._outputs[:, self._n_steps] = self._tokens
        self._n_steps += 1
        self._rules.follow(np.zeros((len(ids), 1), dtype=np.int64), self._tokens[:, None])
        lost = ~((self._log_probs >= self._floors) & (self._log_probs > -np.inf))
        stands = among(self._tokens, self._rules.ends) | (self._n_steps >= self._max_lengths)
        self._lengths[stands & ~lost & ~self.done] = self._n_steps
        self.done |= stands | lost

    def hypotheses(self, rows: IntArray) -> list[list[Hypothesis]]:
        """The hypothesis of each of some sentences; none of one that fell below its floor."""
        lengths, log_probs = self._lengths[rows], self._log_probs[rows]
        if ((lengths == 0) & np.isneginf(self._floors[rows])).any():
            raise ModelError("the network computed NaN or infinity: its weights are damaged, or too large for float16")
        last = self._outputs[rows, np.maximum(lengths - 1, 0)]
        is_ended = among(last, self._rules.ends)
        n_counted = np.maximum(lengths, 1) + (~is_ended & bool(self._config.end_forced))
        scores = log_probs / search_penalty(n_counted, self._config, self._special)
        found = zip(
            *(array.tolist() for array in (self._outputs[rows], lengths, lengths - is_ended, log_probs, scores)),
            strict=True,
        )
        return [
            [Hypothesis(tokens[:n_tokens], log_prob, score)] if length else []
            for tokens, length, n_tokens, log_prob, score in found
        ]

    def keep(self, rows: IntArray) -> None:
        """Keep only these sentences, in this order."""
        for name in ("done", "_max_lengths", "_floors", "_tokens", "_log_probs", "_outputs", "_lengths"):
            setattr(self, name, getattr(self, name)[rows])
        self._rules.keep(rows)
