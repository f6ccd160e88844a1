"""Beam search over any network that predicts the next token; with one beam it is greedy search."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.batching import LEAVING, SLOTS, going_on, padded, place
from heed.models.decoding.config import ROOM, DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Constraints, Requirement
from heed.models.decoding.repetition import without_repetition
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Steps


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """An output and its worth; a repetition penalty is part of its log-probability."""

    tokens: list[int]  # without special tokens
    log_prob: float  # of the tokens and, where the search ended by itself, of the end token
    score: float  # log_prob over the length penalty


def length_penalty(length: IntArray | int, alpha: float, *, by_length: bool = False) -> FloatArray:
    """((5 + length) / 6)^α, what a log-probability is divided by (Wu et al., 2016, arXiv 1609.08144, equation 14).

    `by_length`: length^α instead.
    """
    return np.asarray((length if by_length else (5 + length) / 6) ** alpha, dtype=np.float32)


@dataclasses.dataclass
class Ended:
    """The best hypotheses of each sentence that have ended, best first; a score of -inf is a free place."""

    score: FloatArray  # (B, W)
    log_prob: FloatArray  # (B, W)
    step: IntArray  # the last step whose token belongs to it, (B, W)
    beam: IntArray  # and its place among the beams of that step, (B, W)

    def best(self, new: "Ended") -> "Ended":
        """The best W of these and the new ones, on equal scores the earlier."""
        W = self.score.shape[1]
        order = np.argsort(-np.concatenate([self.score, new.score], axis=1), axis=1, kind="stable")[:, :W]
        pairs = [(getattr(self, field.name), getattr(new, field.name)) for field in dataclasses.fields(self)]
        return Ended(*(np.take_along_axis(np.concatenate(pair, axis=1), order, axis=1) for pair in pairs))


class Beams:
    """The hypotheses of a batch of sentences, and which of them to go on with.

    One ends when its end token is among the best `beam_size` candidates. At the length limit the hypotheses count as
    they stand. A sentence is done when none that is alive can still be among the `n_best`: a log-probability only
    falls, and the length penalty is largest at the limit. So to stop early changes no result, but of one beam.

    Args:
        first: What each output begins with, a token that it does not count, (B,).
        max_lengths: The length limit of each sentence, in tokens, (B,).
        config: How to search.
        special: The special token ids.
        n_best: Hypotheses wanted of each sentence.
        constraints: What the hypotheses must say, if anything.
    """

    def __init__(
        self,
        first: IntArray,
        max_lengths: IntArray,
        config: DecodeConfig,
        special: SpecialIds,
        n_best: int,
        constraints: Constraints | None = None,
    ) -> None:
        B, W = len(max_lengths), config.beam_size
        self.done: BoolArray = np.zeros(B, dtype=bool)
        self._config, self._special, self._n_best = config, special, min(n_best, W)
        self._ends = (special.eos_id, *special.ends)
        self._max_lengths, self._constraints = max_lengths, constraints
        # What must appear, and more than one output, need hypotheses that are not the likeliest.
        prunes = np.isfinite(config.beam_threshold or np.inf) and not constraints and self._n_best == 1
        self._threshold = config.beam_threshold if prunes else None
        # What each hypothesis reads next, and the slots of what it has read. All begin alike, so at first there is one.
        self._tokens: IntArray = first[:, None]
        self._seen: BoolArray = np.zeros((B, 1, SLOTS), dtype=bool)
        self._log_probs: FloatArray = np.zeros((B, 1), dtype=np.float32)
        self._history: list[tuple[IntArray, IntArray]] = []  # of each step: parents and tokens, (B, W)
        self._blank: BoolArray = np.full((B, 1), special.blank is not None)  # which may not end, for they say nothing
        self._guarded = config.repetition_penalty is not None or config.no_repeat_ngram is not None
        self._outputs: IntArray = np.zeros((B, 1, 0), dtype=np.int64)  # (B, W, T) where guarded
        nothing = np.full((B, W), -np.inf, dtype=np.float32)
        self._ended = Ended(nothing, nothing, np.zeros((B, W), dtype=np.int64), np.zeros((B, W), dtype=np.int64))

    def step(self, state: Steps) -> None:
        """Let a state predict, and go on with the best."""
        slots, mask = place(self._seen)
        # One for each beam, the ends, what is never put out, and what repetition may cost its place.
        top = self._config.beam_size + len(self._ends) + len(self._special.suppressed) + self._outputs.shape[2]
        top += self._constraints.n_refused if self._constraints else 0
        wanted = self._constraints.wanted() if self._constraints else None
        live = np.isfinite(self._log_probs) & ~self.done[:, None]
        log_probs, ids = state.step(self._tokens, len(self._history), slots, mask, top, wanted, live)
        self._advance(log_probs, ids, mask)

    def _advance(self, log_probs: FloatArray, ids: IntArray, mask: BoolArray) -> None:
        """Choose the next hypotheses among the candidates, (B, W, top or fewer), given what each has seen."""
        B, W = len(ids), self._config.beam_size
        totals = self._log_probs[:, :, None] + self._allowed(log_probs, ids)
        totals, order = self._constraints.order(totals, ids) if self._constraints else by_log_prob(totals)
        order = order[:, : (1 + len(self._ends)) * W]  # W of them are no ends
        totals, parents = np.take_along_axis(totals, order, axis=1), order // ids.shape[2]
        tokens = np.take_along_axis(ids.reshape(B, -1), order, axis=1)
        is_end = np.isin(tokens, self._ends)
        length = len(self._history) + 1
        self._end(np.where(is_end, totals, -np.inf)[:, :W], parents[:, :W], length, last_step=length - 2)

        alive = np.argsort(is_end, axis=1, kind="stable")[:, :W]
        # Where the vocabulary is smaller than the beam, ends are among them: those do not go on.
        self._log_probs = np.take_along_axis(np.where(is_end, -np.inf, totals), alive, axis=1)
        self._tokens = np.take_along_axis(tokens, alive, axis=1)
        parents = np.take_along_axis(parents, alive, axis=1)
        self._history.append((parents, self._tokens))
        if self._constraints:
            self._constraints.follow(parents, self._tokens)
        self._seen = np.take_along_axis(mask, parents[:, :, None], axis=1)
        self._follow(parents)
        at_limit = length >= self._max_lengths
        if at_limit.any():
            standing = np.broadcast_to(np.arange(alive.shape[1]), alive.shape)
            log_probs = np.where(at_limit[:, None], self._log_probs, -np.inf)
            if self._constraints:
                log_probs = self._constraints.at_limit(log_probs, np.isfinite(self._ended.score[:, 0]))
            self._end(log_probs, standing, length, last_step=length - 1)
        if self._threshold is not None:
            self._prune(self._threshold, length)
        self.done |= at_limit | self._settled()
        self._seen[self.done] = False

    def _prune(self, threshold: float, length: int) -> None:
        """Drop hypotheses that will hardly win (Freitag and Al-Onaizan, 2017, arXiv 1702.01806).

        They are those whose log-probability is more than the threshold below the best that is alive, and those whose
        score, at their present length, is not above that of the worst that is wanted and has ended.
        """
        behind = self._log_probs < self._log_probs.max(axis=1, keepdims=True) - np.float32(threshold)
        scores = self._log_probs / length_penalty(length, self._config.length_penalty)
        lost = behind | (scores <= self._ended.score[:, self._n_best - 1, None])
        self._log_probs = np.where(lost, np.float32(-np.inf), self._log_probs)
        self._seen[lost] = False

    def _allowed(self, log_probs: FloatArray, ids: IntArray) -> FloatArray:
        """The log-probabilities of candidates, (B, W, N), -inf for those that may not be."""
        if self._guarded:
            log_probs = without_repetition(self._outputs, ids, log_probs, self._config)
        refused = np.isin(ids, self._special.suppressed)
        if self._blank.any():
            refused |= self._blank[:, :, None] & np.isin(ids, self._ends)
        if len(self._history) + len(self._special.forced) < (self._config.min_length or 0):
            refused |= np.isin(ids, self._ends)
        return np.where(refused, np.float32(-np.inf), log_probs)

    def _follow(self, parents: IntArray) -> None:
        """Note what the chosen hypotheses have said, given their parents, (B, W)."""
        self._blank = np.take_along_axis(self._blank, parents, axis=1)
        if self._special.blank is not None and self._blank.any():
            self._blank &= np.isin(self._tokens, self._special.blank)
        if self._guarded:
            before = np.take_along_axis(self._outputs, parents[:, :, None], axis=1)
            self._outputs = np.concatenate([before, self._tokens[:, :, None]], axis=2)

    def _end(self, log_probs: FloatArray, beams: IntArray, length: int, last_step: int) -> None:
        """Count hypotheses, (B, W), as ended, but impossible ones (-inf) and those of sentences that are done."""
        possible = np.where(self.done[:, None], -np.inf, log_probs).astype(np.float32)
        if np.isfinite(possible).any():
            scores = possible / self._penalty(length)
            self._ended = self._ended.best(Ended(scores, possible, np.full_like(beams, last_step), beams))

    def _settled(self) -> BoolArray:
        """Which sentences have their best hypotheses already, (B,)."""
        stop, worst = self._config.stop, self._ended.score[:, -1]
        if stop == "beam_size":
            full: BoolArray = np.isfinite(worst)
            return full
        longest = np.full_like(self._max_lengths, len(self._history)) if stop == "present" else self._max_lengths
        attainable = self._log_probs.max(axis=1) / self._penalty(longest)
        wanted = worst if stop == "present" else self._ended.score[:, self._n_best - 1]
        # One beam is greedy search, which ends where its one hypothesis does.
        settled: BoolArray = np.isfinite(wanted) & ((wanted >= attainable) | (self._config.beam_size == 1))
        return settled

    def _penalty(self, length: IntArray | int) -> FloatArray:
        """What the log-probabilities of outputs are divided by; what they are forced to begin with counts."""
        config, n_forced = self._config, len(self._special.forced)
        return length_penalty(length + n_forced, config.length_penalty, by_length=bool(config.by_length))

    def hypotheses(self, row: int) -> list[Hypothesis]:
        """The best ended hypotheses of a sentence, best first."""
        score, log_prob = self._ended.score[row], self._ended.log_prob[row]
        step, beam = self._ended.step[row], self._ended.beam[row]
        best = np.flatnonzero(np.isfinite(score))[: self._n_best]
        if not len(best):
            raise ModelError("the network computed no numbers (NaN): its weights are damaged, or too large for float16")
        return [
            Hypothesis(self._trace(row, step[place], beam[place]), float(log_prob[place]), float(score[place]))
            for place in best
        ]

    def _trace(self, row: int, step: int, beam: int) -> list[int]:
        """The tokens of a hypothesis, from its last step back to the first."""
        tokens = []
        for parents, chosen in reversed(self._history[: step + 1]):
            tokens.append(int(chosen[row, beam]))
            beam = parents[row, beam]
        return tokens[::-1]

    def keep(self, rows: IntArray) -> None:
        """Go on with these sentences alone, in this order."""
        for name in ("done", "_max_lengths", "_tokens", "_seen", "_log_probs", "_blank", "_outputs"):
            setattr(self, name, getattr(self, name)[rows])
        self._history = [(parents[rows], tokens[rows]) for parents, tokens in self._history]
        self._ended = Ended(*(getattr(self._ended, field.name)[rows] for field in dataclasses.fields(Ended)))
        if self._constraints:
            self._constraints.keep(rows)


def by_log_prob(totals: FloatArray) -> tuple[FloatArray, IntArray]:
    """The log-probabilities of candidates, (B, W, N), as (B, W · N), and their places, best first."""
    totals = totals.reshape(len(totals), -1)
    return totals, np.argsort(-totals, axis=1, kind="stable")


def search(
    state: Steps,
    sources: Sequence[list[int]] | None,
    config: DecodeConfig,
    special: SpecialIds,
    *,
    prompts: Sequence[list[int]] | None = None,
    n_best: int = 1,
    context: int | None = None,
    requirements: Sequence[Requirement] | None = None,
) -> list[list[Hypothesis]]:
    """Decode a batch of sources, or continue a batch of prompts.

    Args:
        state: What predicts.
        sources: Token ids of each source, its end token included; None: the network has no encoder.
        config: How to search.
        special: The target's special token ids.
        prompts: Token ids that each output begins with, which it does not count; None: the beginning token alone.
        n_best: Hypotheses wanted of each.
        context: Tokens that the network can read of a prompt and its output together; None: any number.
        requirements: What the outputs of each must say; where the length limit leaves no room for it, they may not.

    Returns:
        For each source or prompt its best ended hypotheses, best first: at least one, at most `n_best` or the beam's
        width.
    """
    if sources is not None:
        state.encode(*padded(sources))
    begun = prompts or [[special.bos_id, *special.forced]] * len(sources or ())
    state.prefill(*padded(begun))
    lengths = np.array([len(row) for row in sources or begun])
    max_lengths = lengths - 1 + ROOM if config.max_length is None else np.full_like(lengths, config.max_length)
    if context is not None:  # the last token of an output is not read
        max_lengths = np.minimum(max_lengths, context + 1 - np.array([len(prompt) for prompt in begun]))
    first = np.array([prompt[-1] for prompt in begun])
    constraints = Constraints(requirements, max_lengths, special.eos_id) if requirements else None
    beams = Beams(first, max_lengths, config, special, n_best, constraints)
    found: dict[int, list[Hypothesis]] = {}
    sentences = np.arange(len(begun))  # those still in the batch
    while True:
        beams.step(state)
        if beams.done.mean() >= LEAVING:
            found.update((int(sentences[row]), beams.hypotheses(row)) for row in np.flatnonzero(beams.done).tolist())
            rows = going_on(beams.done)
            if not len(rows):
                return [found[i] for i in range(len(begun))]
            sentences = sentences[rows]
            beams.keep(rows)
            state.keep(rows)
