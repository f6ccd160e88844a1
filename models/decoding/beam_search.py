"""Beam search over any network that predicts the next token; with one beam it is greedy search."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.batching import LEAVING, SLOTS, going_on, padded, place
from heed.models.decoding.config import ROOM, DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Constraints, Requirement
from heed.models.decoding.greedy import Greedy
from heed.models.decoding.hypothesis import Hypothesis, search_penalty
from heed.models.decoding.rules import Rules, among
from heed.models.errors import ModelError
from heed.models.runtime.protocol import SearchState

AHEAD = 2  # tokens by which a hypothesis may become longer before its score is compared with those that have ended


class Ended(NamedTuple):
    """The best ended hypotheses of each sentence, best first; a score of -inf is an empty entry."""

    score: FloatArray  # (B, W)
    log_prob: FloatArray  # (B, W)
    step: IntArray  # step of its last token, (B, W)
    beam: IntArray  # its beam at that step, (B, W)

    def best(self, new: "Ended") -> "Ended":
        """The best W of these and the new ones; ties go to the earlier ones."""
        W = self.score.shape[1]
        order = np.argsort(-np.concatenate([self.score, new.score], axis=1), axis=1, kind="stable")[:, :W]

        def ordered(old: Any, more: Any) -> Any:
            return at(np.concatenate([old, more], axis=1), order)

        return Ended(*map(ordered, self, new))

    def keep(self, rows: IntArray, n: int | None = None) -> "Ended":
        """The best n, by default all, of these sentences."""
        return Ended(self.score[rows, :n], self.log_prob[rows, :n], self.step[rows, :n], self.beam[rows, :n])


class Beams:
    """The live and ended hypotheses of a batch of sentences.

    A hypothesis ends when its end token is among the best `beam_size` candidates. At the length limit live hypotheses
    count as they are. A sentence is done when no live hypothesis can still be among the `n_best`: a log-probability
    only falls, and the length penalty is largest at the limit. So stopping early changes no result, except with one
    beam.

    Args:
        first: The token before each output, not part of it, (B,).
        max_lengths: The length limit of each sentence, in tokens, (B,).
        config: Search settings.
        special: The special token ids.
        n_best: Number of hypotheses to return for each sentence.
        constraints: What the hypotheses of some sentences must contain, if anything.
        floors: Log-probability below which hypotheses of a sentence are dropped, (B,); it may then have none.
    """

    def __init__(
        self,
        first: IntArray,
        max_lengths: IntArray,
        config: DecodeConfig,
        special: SpecialIds,
        n_best: int,
        constraints: Constraints | None,
        floors: FloatArray,
    ) -> None:
        B, W = len(max_lengths), config.beam_size
        self.done: BoolArray = np.zeros(B, dtype=bool)
        self._config, self._special, self._n_best = config, special, min(n_best, W)
        self._rules = Rules(B, config, special)
        self._max_lengths, self._constraints = max_lengths, constraints
        self._floors = floors
        # What must appear, and more than one output, need hypotheses that are not the likeliest.
        threshold = config.beam_threshold if config.beam_threshold and W > 1 and self._n_best == 1 else np.inf
        self._thresholds: FloatArray = np.full(B, threshold, dtype=np.float32)
        if constraints:
            self._thresholds[constraints.rows] = np.inf
        # The next input of each hypothesis, and the slots of what it has read. All start equal, so at first there is
        # one.
        self._tokens: IntArray = first[:, None]
        self._seen: BoolArray = np.zeros((B, 1, SLOTS), dtype=bool)
        self._log_probs: FloatArray = np.zeros((B, 1), dtype=np.float32)
        self._history: list[tuple[IntArray, IntArray]] = []  # for each step: parents and tokens, (B, W)
        nothing = np.full((B, W), -np.inf, dtype=np.float32)
        self._ended = Ended(nothing, nothing, np.zeros((B, W), dtype=np.int64), np.zeros((B, W), dtype=np.int64))

    def step(self, state: SearchState) -> None:
        """Let a state predict, and extend the best hypotheses."""
        slots, mask = place(self._seen)
        top = self._config.beam_size + self._rules.n_more
        top += self._constraints.n_refused if self._constraints else 0
        wanted = self._constraints.wanted(self._tokens.shape) if self._constraints else None
        live = np.isfinite(self._log_probs) & ~self.done[:, None]
        log_probs, ids = state.step(self._tokens, len(self._history), slots, mask, top, wanted, live)
        if self._constraints and wanted is not None:
            self._constraints.hide(log_probs, wanted.shape[2])
        self._advance(log_probs, ids, mask)

    def _advance(self, log_probs: FloatArray, ids: IntArray, mask: BoolArray) -> None:
        """Choose the next hypotheses among the candidates, (B, W, top or fewer), given the slots that each sees."""
        B, W = len(ids), self._config.beam_size
        totals = self._log_probs[:, :, None] + self._rules.allowed(log_probs, ids, len(self._history))
        flat, order = by_log_prob(totals)
        if self._constraints:
            self._constraints.reorder(totals, ids, flat, order)
        totals = flat
        order = order[:, : (1 + len(self._rules.ends)) * W]  # W of them are no ends
        totals, parents = at(totals, order), order // ids.shape[2]
        tokens = at(ids.reshape(B, -1), order)
        is_end = among(tokens, self._rules.ends)
        length = len(self._history) + 1
        if is_end[:, :W].any():
            self._end(np.where(is_end, totals, -np.inf)[:, :W], parents[:, :W], length, last_step=length - 2)
        alive = np.argsort(is_end, axis=1, kind="stable")[:, :W]
        # If the vocabulary is smaller than the beam, end tokens are among them; those are not extended.
        self._log_probs = at(np.where(is_end, -np.inf, totals), alive)
        self._tokens = at(tokens, alive)
        parents = at(parents, alive)
        self._history.append((parents, self._tokens))
        if self._constraints:
            self._constraints.follow(parents, self._tokens)
        self._seen = at(mask, parents)
        self._rules.follow(parents, self._tokens)
        at_limit = length >= self._max_lengths
        if at_limit.any():
            standing = np.broadcast_to(np.arange(alive.shape[1]), alive.shape)
            # One beam is greedy search, which has ended where its only hypothesis has.
            counted = at_limit & ~(np.isfinite(self._ended.score[:, 0]) & (W == 1))
            log_probs = np.where(counted[:, None], self._log_probs, -np.inf)
            if self._constraints:
                log_probs = self._constraints.at_limit(log_probs, np.isfinite(self._ended.score[:, 0]))
            self._end(log_probs, standing, length + bool(self._config.end_forced), last_step=length - 1)
        self._prune(length)
        self.done |= at_limit | self._settled()
        self._seen[self.done] = False
        if self._constraints:
            self._constraints.forget(self.done)

    def _prune(self, length: int) -> None:
        """Drop hypotheses below their floor, and those that will hardly win.

        The latter are those whose log-probability is more than the threshold below the best that is alive, and those
        whose score would not be above that of the worst that is wanted and has ended (Freitag and Al-Onaizan, 2017,
        arXiv 1702.01806), even if they were longer by a few sure tokens: the length penalty favours longer ones.
        """
        prunes = np.isfinite(self._thresholds)
        if not prunes.any() and np.isneginf(self._floors).all():
            return
        lost = self._log_probs < self._floors[:, None]
        if prunes.any():
            behind = self._log_probs < self._log_probs.max(axis=1, keepdims=True) - self._thresholds[:, None]
            scores = self._log_probs / self._penalty(length + AHEAD)
            lost |= prunes[:, None] & (behind | (scores <= self._ended.score[:, self._n_best - 1, None]))
        self._log_probs = np.where(lost, np.float32(-np.inf), self._log_probs)
        self._seen[lost] = False

    def _end(self, log_probs: FloatArray, beams: IntArray, length: int, last_step: int) -> None:
        """Count hypotheses, (B, W), as ended, except impossible ones (-inf) and those of finished sentences."""
        over = self.done[:, None] | (log_probs < self._floors[:, None])
        possible = np.where(over, -np.inf, log_probs).astype(np.float32)
        if np.isfinite(possible).any():
            scores = possible / self._penalty(length)
            self._ended = self._ended.best(Ended(scores, possible, np.full_like(beams, last_step), beams))

    def _settled(self) -> BoolArray:
        """The sentences whose best hypotheses are final, (B,)."""
        stop, worst = self._config.stop, self._ended.score[:, -1]
        if stop == "beam_size":
            full: BoolArray = np.isfinite(worst)
            return full
        at_limit = self._max_lengths + bool(self._config.end_forced)  # the length that counts there
        longest = np.full_like(at_limit, len(self._history)) if stop == "present" else at_limit
        attainable = self._log_probs.max(axis=1) / self._penalty(longest)
        wanted = worst if stop == "present" else self._ended.score[:, self._n_best - 1]
        # One beam is greedy search, which ends with its only hypothesis.
        settled: BoolArray = np.isfinite(wanted) & ((wanted >= attainable) | (self._config.beam_size == 1))
        return settled | (np.isfinite(self._floors) & ~np.isfinite(self._log_probs).any(axis=1))

    def _penalty(self, length: IntArray | int) -> FloatArray:
        return search_penalty(length, self._config, self._special)

    def hypotheses(self, rows: IntArray) -> list[list[Hypothesis]]:
        """The best ended hypotheses of some sentences, best first; none of one if all fell below its floor."""
        best = self._ended.keep(rows, self._n_best)
        if (~np.isfinite(best.score[:, 0]) & np.isneginf(self._floors[rows])).any():
            raise ModelError("the network computed NaN or infinity: its weights are damaged, or too large for float16")
        arrays = self._traced(rows, best.step, best.beam), best.step, best.log_prob, best.score
        return [
            [
                Hypothesis(tokens[: step + 1], log_prob, score)
                for tokens, step, log_prob, score in zip(*of_sentence, strict=True)
                if math.isfinite(score)
            ]
            for of_sentence in zip(*(array.tolist() for array in arrays), strict=True)
        ]

    def _traced(self, rows: IntArray, steps: IntArray, beams: IntArray) -> IntArray:
        """The tokens of hypotheses, (R, N, T), traced back from their last steps, (R, N); what follows these is any."""
        T = int(steps.max(initial=-1)) + 1
        tokens: IntArray = np.zeros((*steps.shape, T), dtype=np.int64)
        for step in reversed(range(T)):
            parents, chosen = self._history[step]
            there = np.where(step <= steps, beams, 0)
            tokens[:, :, step] = chosen[rows[:, None], there]
            beams = np.where(step <= steps, parents[rows[:, None], there], beams)
        return tokens

    def keep(self, rows: IntArray) -> None:
        """Keep only these sentences, in this order."""
        for name in ("done", "_max_lengths", "_floors", "_thresholds", "_tokens", "_seen", "_log_probs"):
            setattr(self, name, getattr(self, name)[rows])
        self._rules.keep(rows)
        self._history = [(parents[rows], tokens[rows]) for parents, tokens in self._history]
        self._ended = self._ended.keep(rows)
        if self._constraints:
            self._constraints.keep(rows)


def at(values: Any, places: IntArray) -> Any:
    """The values of each sentence, (B, N, …), at places, (B, M): `np.take_along_axis` in half its time or less."""
    return values[np.arange(len(values))[:, None], places]


def by_log_prob(totals: FloatArray) -> tuple[FloatArray, IntArray]:
    """The log-probabilities of candidates, (B, W, N), as (B, W · N), and their indices, best first."""
    totals = totals.reshape(len(totals), -1)
    return totals, np.argsort(-totals, axis=1, kind="stable")


def search(
    state: SearchState,
    sources: Sequence[list[int]] | None,
    config: DecodeConfig,
    special: SpecialIds,
    *,
    prompts: Sequence[list[int]] | None = None,
    n_best: int = 1,
    context: int | None = None,
    requirements: Sequence[Requirement | None] | None = None,
    floors: Sequence[float] | None = None,
) -> list[list[Hypothesis]]:
    """Decode a batch of sources, or continue a batch of prompts.

    Args:
        state: The network's decoding state.
        sources: Token ids of each source, including its end token; None: the network has no encoder.
        config: Search settings.
        special: The special token ids of the target.
        prompts: Token ids before each output, not part of it; None: only the beginning token.
        n_best: Number of hypotheses to return for each source.
        context: Maximum number of tokens of a prompt and its output together; None: no limit.
        requirements: What the outputs of each source must contain, if anything, unless the length limit leaves no room
            for it.
        floors: The least log-probability of an output of each source.

    Returns:
        The best ended hypotheses of each source or prompt, best first: at most `n_best` or `beam_size`, and at least
        one unless all are below a floor.
    """
    if not any(requirements or ()):
        requirements = None
    if sources is not None:
        needed = padded([each.tokens if each else [] for each in requirements]) if requirements else None
        state.encode(*padded(sources), needed)
    begun = prompts or [[special.bos_id, *special.forced]] * len(sources or ())
    state.prefill(*padded(begun))
    lengths = np.array([len(row) for row in sources or begun])
    limit = config.max_length and max(1, config.max_length - len(special.forced) - bool(config.end_forced))
    max_lengths = lengths - 1 + ROOM if limit is None else np.full_like(lengths, limit)
    if context is not None:  # the network does not read the last token of an output
        max_lengths = np.minimum(max_lengths, context + 1 - np.array([len(prompt) for prompt in begun]))
    first = np.array([prompt[-1] for prompt in begun])
    constraints = Constraints(requirements, max_lengths, special.eos_id) if requirements else None
    least = np.array(floors or [-np.inf] * len(begun), dtype=np.float32)
    if config.beam_size == 1 and not constraints:
        beams: Beams | Greedy = Greedy(first, max_lengths, config, special, least)
    else:
        beams = Beams(first, max_lengths, config, special, n_best, constraints, least)
    found: dict[int, list[Hypothesis]] = {}
    sentences = np.arange(len(begun))  # sentences still in the batch
    while True:
        beams.step(state)
        if np.count_nonzero(beams.done) >= LEAVING * len(beams.done):
            done = np.flatnonzero(beams.done)
            found.update(zip(sentences[done].tolist(), beams.hypotheses(done), strict=True))
            rows = going_on(beams.done)
            if not len(rows):
                return [found[i] for i in range(len(begun))]
            sentences = sentences[rows]
            beams.keep(rows)
            state.keep(rows)
