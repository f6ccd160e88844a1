"""Beam search over any network that predicts the next token; with one beam it is greedy search."""

import dataclasses
import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from heed.models.errors import ModelError

LEAVING = 0.25  # share of a batch that is done when it leaves; each time, the keys and values of the rest are copied

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class State(Protocol):
    """A batch of sources being decoded; keeps the keys and values of every token it was given."""

    def step(self, tokens: IntArray, mask: BoolArray, top: int) -> tuple[FloatArray, IntArray]:
        """Read one more token of each hypothesis and predict the next.

        Args:
            tokens: (B, W).
            mask: Which of the P tokens given before and the W given now each one sees, (B, W, P + W).
            top: How many candidates to return; all V, where there are fewer.

        Returns:
            The log-probabilities of the best candidates, (B, W, top), best first, and their token ids.
        """
        ...

    def keep(self, rows: IntArray) -> None:
        """Go on with these sources of the batch alone."""
        ...


class Network(Protocol):
    """What decodes: a network in PyTorch or in ONNX Runtime."""

    def start(self, src: IntArray, src_mask: BoolArray) -> State:
        """Encode source token ids, (B, S); the mask is True where they are no padding."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How to search; the defaults are the paper's (section 6.1)."""

    beam_size: int = 4  # hypotheses kept for each sentence; 1 is greedy search
    length_penalty: float = 0.6  # α
    max_length: int | None = None  # tokens of output; None: 50 more than the source has

    def __post_init__(self) -> None:
        wrong = []
        if self.beam_size < 1:
            wrong.append(f"beam_size must be at least 1, not {self.beam_size!r}")
        if not 0 <= self.length_penalty < math.inf:
            wrong.append(f"length_penalty must be a number of at least 0, not {self.length_penalty!r}")
        if self.max_length is not None and self.max_length < 1:
            wrong.append(f"max_length must be at least 1, not {self.max_length!r}")
        if wrong:
            raise ModelError("; ".join(wrong))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """The token ids of the target that mean something to the search."""

    bos_id: int  # begins every output
    eos_id: int  # ends every output
    unk_id: int  # is never put out


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """An output and its worth."""

    tokens: list[int]  # without special tokens
    log_prob: float  # of the tokens and, where the search ended by itself, of the end token
    score: float  # log_prob over the length penalty


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^α, what a log-probability is divided by (Wu et al., 2016, arXiv 1609.08144, equation 14)."""
    return float(((5 + length) / 6) ** alpha)


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

    No key or value ever moves: hypotheses are chosen by what the next tokens may see. A sentence is done
    when as many hypotheses have ended as the beam is wide; one ends when its end token is among the best
    `beam_size` candidates. At the length limit the hypotheses count as they stand.

    Args:
        max_lengths: The length limit of each sentence, in tokens, (B,).
        config: How to search.
        special: The special token ids.
    """

    def __init__(self, max_lengths: IntArray, config: DecodeConfig, special: SpecialIds) -> None:
        B, W = len(max_lengths), config.beam_size
        self.tokens: IntArray = np.full((B, W), special.bos_id, dtype=np.int64)  # what each hypothesis reads next
        self.mask: BoolArray = np.tile(np.eye(W, dtype=bool), (B, 1, 1))  # and which tokens it then sees
        self.done: BoolArray = np.zeros(B, dtype=bool)
        self._config, self._special, self._max_lengths = config, special, max_lengths
        self._log_probs: FloatArray = np.full((B, W), -np.inf, dtype=np.float32)
        self._log_probs[:, 0] = 0  # all begin alike, so one is enough
        self._history: list[tuple[IntArray, IntArray]] = []  # of each step: parents and tokens, (B, W)
        nothing = np.full((B, W), -np.inf, dtype=np.float32)
        self._ended = Ended(nothing, nothing, np.zeros((B, W), dtype=np.int64), np.zeros((B, W), dtype=np.int64))

    @property
    def top(self) -> int:
        """Candidates needed of each hypothesis: one for each beam, the end, and the unknown token."""
        return self._config.beam_size + 2

    def advance(self, log_probs: FloatArray, ids: IntArray) -> None:
        """Choose the next hypotheses among the candidates, (B, W, top or V)."""
        B, W = self.tokens.shape
        log_probs = np.where(ids == self._special.unk_id, -np.inf, log_probs)
        totals = (self._log_probs[:, :, None] + log_probs).reshape(B, -1)
        order = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * W]  # at most W of them are ends
        totals, parents = np.take_along_axis(totals, order, axis=1), order // ids.shape[2]
        tokens = np.take_along_axis(ids.reshape(B, -1), order, axis=1)
        is_end = tokens == self._special.eos_id
        length = len(self._history) + 1
        self._end(np.where(is_end, totals, -np.inf)[:, :W], parents[:, :W], length, last_step=length - 2)

        alive = np.argsort(is_end, axis=1, kind="stable")[:, :W]
        self._log_probs = np.take_along_axis(totals, alive, axis=1)
        self.tokens = np.take_along_axis(tokens, alive, axis=1)
        parents = np.take_along_axis(parents, alive, axis=1)
        self._history.append((parents, self.tokens))
        at_limit = length >= self._max_lengths
        beams = np.broadcast_to(np.arange(W), (B, W))
        self._end(
            np.where(at_limit[:, None], self._log_probs, -np.inf),
            beams,
            length,
            last_step=length - 1,
        )

        self.done |= at_limit | np.isfinite(self._ended.score).all(axis=1)
        seen = np.take_along_axis(self.mask, parents[:, :, None], axis=1)
        self.mask = np.concatenate([seen, np.broadcast_to(np.eye(W, dtype=bool), (B, W, W))], axis=2)

    def _end(self, log_probs: FloatArray, beams: IntArray, length: int, last_step: int) -> None:
        """Count hypotheses, (B, W), as ended, but impossible ones (-inf) and those of sentences that are done."""
        possible = np.where(self.done[:, None], -np.inf, log_probs).astype(np.float32)
        if np.isfinite(possible).any():
            scores = (possible / length_penalty(length, self._config.length_penalty)).astype(np.float32)
            self._ended = self._ended.best(Ended(scores, possible, np.full_like(beams, last_step), beams))

    def hypotheses(self, row: int) -> list[Hypothesis]:
        """The ended hypotheses of a sentence, best first."""
        score, log_prob = self._ended.score[row], self._ended.log_prob[row]
        step, beam = self._ended.step[row], self._ended.beam[row]
        return [
            Hypothesis(self._trace(row, step[place], beam[place]), float(log_prob[place]), float(score[place]))
            for place in np.flatnonzero(np.isfinite(score))
        ]

    def _trace(self, row: int, step: int, beam: int) -> list[int]:
        """The tokens of a hypothesis, from its last step back to the first."""
        tokens = []
        for parents, chosen in reversed(self._history[: step + 1]):
            tokens.append(int(chosen[row, beam]))
            beam = parents[row, beam]
        return tokens[::-1]

    def keep(self, rows: IntArray) -> None:
        """Go on with these sentences alone."""
        self.tokens, self.mask, self.done = self.tokens[rows], self.mask[rows], self.done[rows]
        self._max_lengths, self._log_probs = self._max_lengths[rows], self._log_probs[rows]
        self._history = [(parents[rows], tokens[rows]) for parents, tokens in self._history]
        self._ended = Ended(*(getattr(self._ended, field.name)[rows] for field in dataclasses.fields(Ended)))


def search(
    network: Network, sources: list[list[int]], config: DecodeConfig, special: SpecialIds
) -> list[list[Hypothesis]]:
    """Decode a batch of sources.

    Args:
        network: What predicts.
        sources: Token ids of each source, its end token included.
        config: How to search.
        special: The target's special token ids.

    Returns:
        For each source its ended hypotheses, best first; at least one.
    """
    lengths = np.array([len(source) for source in sources])
    src = np.zeros((len(sources), lengths.max()), dtype=np.int64)  # the mask hides what fills the shorter ones
    for row, source in zip(src, sources, strict=True):
        row[: len(source)] = source
    state = network.start(src, np.arange(src.shape[1]) < lengths[:, None])
    max_lengths = lengths - 1 + 50 if config.max_length is None else np.full_like(lengths, config.max_length)
    beams = Beams(max_lengths, config, special)
    found: dict[int, list[Hypothesis]] = {}
    sentences = np.arange(len(sources))  # those still in the batch
    while len(sentences):
        beams.advance(*state.step(beams.tokens, beams.mask, beams.top))
        if beams.done.mean() >= LEAVING:
            found.update((int(sentences[row]), beams.hypotheses(row)) for row in np.flatnonzero(beams.done).tolist())
            going_on = np.flatnonzero(~beams.done)
            sentences = sentences[going_on]
            beams.keep(going_on)
            state.keep(going_on)
    return [found[i] for i in range(len(sources))]
