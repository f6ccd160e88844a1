"""Parity: comparison of ONNX Runtime with PyTorch on real text."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray
from heed.models.bundle.manifest import Parity
from heed.models.decoding.batching import padded, plan_batches
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.decoding.hypothesis import Hypothesis
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Network, State
from heed.models.runtime.state import OnnxState
from heed.models.tasks.scorer import LOGITS, ScoringInput

BATCH_SIZE = 16
BEAM_SIZE = 4
PROMPT, CONTINUATION = 16, 32  # tokens at the start of a text, and tokens of its continuation
# In float32 both compute the same products and add in different orders; over some layers, log-probabilities differ by
# about 1e-5.
LOG_PROB_LIMIT = 1e-3
# Near-tie: two tokens (or outputs, per token) whose log-probabilities differ by less than the sum of both errors. The
# order of additions decides which one is chosen.
TIE = 2 * LOG_PROB_LIMIT
# A near-tie within the beam decides which hypothesis is dropped, so it may change an output that is not a near-tie.
BEAM_SHARE = 0.05
# Other precisions round every product. The loss per token may grow by this many nats: 0.02 is 2 % of perplexity; four
# bits round a weight to one of sixteen values.
LOSS_LIMITS = {"float16": 0.02, "int8": 0.02, "int4": 0.2}


def compare(
    before: Network,
    after: Network,
    passages: Sequence[ScoringInput],
    special: SpecialIds,
    *,
    n_bytes: int | None = None,
) -> Parity:
    """Compare an exported network with its original.

    Args:
        before: The network in PyTorch, in float32.
        after: The exported network.
        passages: Texts, no longer than the context; given tokens do not count in the loss.
        special: The special token ids.
        n_bytes: Bytes of the texts that count, for bits per byte; None: not computed.
    """
    difference, losses, n_tokens = _forced(before, after, passages, special)
    greedy, beam = (_Agreement(before, special) for _ in range(2))
    for batch in _batches(passages, before):
        greedy.add(batch, *(_greedy(side.state(), batch, special, before.context) for side in (before, after)))
        theirs, ours = (_searched(side.state(), batch, special, before.context) for side in (before, after))
        beam.add_hypotheses(batch, theirs, ours)
    n_tokens = max(n_tokens, 1)
    return Parity(
        texts=len(passages),
        tokens=n_tokens,
        greedy_identical=greedy.n_identical,
        beam_identical=beam.n_identical,
        beam_size=BEAM_SIZE,
        near_ties=greedy.n_ties + beam.n_ties,
        log_prob_difference=difference,
        loss_torch=losses[0] / n_tokens,
        loss_bundle=losses[1] / n_tokens,
        bits_per_byte=None if n_bytes is None else losses[1] / math.log(2) / max(n_bytes, 1),
    )


def require(parity: Parity, precision: str) -> None:
    """Refuse an export that differs from its original.

    Raises:
        ModelError: States the figure that is out of bounds.
    """
    if precision != "float32":
        limit = LOSS_LIMITS[precision]
        if not parity.loss_bundle - parity.loss_torch <= limit:
            raise ModelError(
                f"the export is refused: loss {parity.loss_bundle:.4f} in {precision} and {parity.loss_torch:.4f} "
                f"in float32, more than {limit:g} apart; export with a higher precision"
            )
        return
    if not parity.log_prob_difference <= LOG_PROB_LIMIT:
        raise ModelError(
            f"the export is refused: a log-probability differs from PyTorch's by {parity.log_prob_difference:.2g}, "
            f"more than {LOG_PROB_LIMIT:g}: the graphs are wrong; report it with the network's description"
        )
    beams = parity.texts if parity.beam_identical is None else parity.beam_identical
    if parity.greedy_identical < parity.texts or beams < (1 - BEAM_SHARE) * parity.texts:
        raise ModelError(
            f"the export is refused: of {parity.texts} texts, {parity.greedy_identical} greedy and {beams} beam "
            "outputs equal PyTorch's, near-ties counted in: the graphs are wrong; report it, with what the run is"
        )


def require_shortlist(whole: Network, narrowed: Network, passages: Sequence[ScoringInput], special: SpecialIds) -> None:
    """Refuse a shortlist's graphs that differ from those of the whole vocabulary on the same tokens.

    Raises:
        ModelError: States the figure that is out of bounds.
    """
    states, difference = (whole.state(), narrowed.state()), 0.0
    for batch in _batches(passages, whole):
        every, found = (_log_probs(state, batch, special) for state in states)
        assert isinstance(states[1], OnnxState)
        possible = np.isfinite(found)
        columns = np.broadcast_to(states[1].vocabulary[:, None], found.shape)
        among = np.where(possible, np.take_along_axis(every, columns, axis=2), -np.inf)
        total = np.broadcast_to(np.logaddexp.reduce(among, axis=2, keepdims=True), among.shape)
        largest = np.abs(found[possible] - (among[possible] - total[possible])).max()
        difference = float(np.maximum(difference, largest))  # keeps a NaN
    if not difference <= LOG_PROB_LIMIT:
        raise ModelError(
            f"the export is refused: over the shortlist a log-probability differs by {difference:.2g}, more than "
            f"{LOG_PROB_LIMIT:g}: the graphs are wrong; report it with the network's description"
        )


def _batches(passages: Sequence[ScoringInput], network: Network) -> Iterator[list[ScoringInput]]:
    """Batches of passages of similar length, so small that all their log-probabilities fit into memory."""
    assert network.spec.decoder is not None, "an encoder alone cannot predict the next token"
    lengths = [max(len(each.given) + len(each.tokens), len(each.source or ())) for each in passages]
    size = LOGITS // (network.spec.decoder.vocab_size * max(lengths, default=1))
    for batch in plan_batches(lengths, min(BATCH_SIZE, max(1, size))):
        yield [passages[i] for i in batch]


def _encode(state: State, batch: list[ScoringInput]) -> None:
    if sources := _sources(batch):
        state.encode(*padded(sources))


def _sources(batch: list[ScoringInput]) -> list[list[int]]:
    return [each.source for each in batch if each.source is not None]


def _log_probs(state: State, batch: list[ScoringInput], special: SpecialIds) -> FloatArray:
    """The log-probabilities of all tokens, teacher-forced, (B, T, V)."""
    _encode(state, batch)
    return state.forced(padded([each.read(special.bos_id) for each in batch])[0])


def _counted(batch: list[ScoringInput]) -> BoolArray:
    """True at positions that predict a token that counts, (B, T)."""
    _, mask = padded([each.given + each.tokens for each in batch])
    n_given = np.array([len(each.given) for each in batch])
    counted: BoolArray = mask & (np.arange(mask.shape[1]) >= n_given[:, None])
    return counted


def _forced(
    before: Network, after: Network, passages: Sequence[ScoringInput], special: SpecialIds
) -> tuple[float, list[float], int]:
    """The largest difference of a log-probability, both summed losses, and the number of tokens."""
    states, difference, losses, n_tokens = (before.state(), after.state()), 0.0, [0.0, 0.0], 0
    for batch in _batches(passages, before):
        counted, (targets, _) = _counted(batch), padded([each.given + each.tokens for each in batch])
        theirs, ours = (_log_probs(state, batch, special) for state in states)
        difference = float(np.maximum(difference, np.abs(ours - theirs)[counted].max(initial=0)))  # keeps a NaN
        for side, found in enumerate((theirs, ours)):
            losses[side] -= float(np.take_along_axis(found, targets[:, :, None], axis=2)[counted].sum(dtype=np.float64))
        n_tokens += int(counted.sum())
    return difference, losses, n_tokens


def _prompt(passage: ScoringInput, special: SpecialIds) -> list[int]:
    """The start of an output: nothing for a translation, the first tokens for a text."""
    text = [] if passage.source else (passage.given + passage.tokens)[: PROMPT - 1]
    return [special.bos_id, *text]


def _limit(prompts: list[list[int]], context: int | None, batch: list[ScoringInput]) -> int:
    """The maximum length of outputs."""
    longest = max((len(source) + 49 for source in _sources(batch)), default=CONTINUATION)
    return longest if context is None else max(1, min(longest, context + 1 - max(map(len, prompts))))


def _greedy(state: State, batch: list[ScoringInput], special: SpecialIds, context: int | None) -> list[list[int]]:
    """Greedy outputs, including the end token, one per row."""
    prompts = [_prompt(each, special) for each in batch]
    _encode(state, batch)
    state.prefill(*padded(prompts), alone=True)
    tokens, outputs = np.array([[prompt[-1]] for prompt in prompts]), [list[int]() for _ in batch]
    nothing = np.zeros((len(batch), 1, 0), dtype=bool)
    for position in range(_limit(prompts, context, batch)):
        tokens = state.log_probs(tokens, position, None, nothing).argmax(axis=2)
        for output, token in zip(outputs, tokens[:, 0].tolist(), strict=True):
            if special.eos_id not in output[-1:]:
                output.append(token)
        if all(special.eos_id in output[-1:] for output in outputs):
            break
    return outputs


def _searched(state: State, batch: list[ScoringInput], special: SpecialIds, context: int | None) -> list[Hypothesis]:
    """The best output of each passage by beam search."""
    prompts = [_prompt(each, special) for each in batch]
    config = DecodeConfig(beam_size=BEAM_SIZE, max_length=_limit(prompts, context, batch))
    found = search(state, _sources(batch) or None, config, special, prompts=prompts, context=context)
    return [best[0] for best in found]


@dataclasses.dataclass
class _Agreement:
    """Counts outputs that are identical, or differ by a near-tie of the network in PyTorch."""

    network: Network
    special: SpecialIds
    n_identical: int = 0
    n_ties: int = 0

    def add(self, batch: list[ScoringInput], theirs: list[list[int]], ours: list[list[int]]) -> None:
        """Count greedy outputs; where they diverge, PyTorch's log-probabilities give the margin."""
        for passage, one, other in zip(batch, theirs, ours, strict=True):
            place = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
            if place is None:
                self.n_identical += len(one) == len(other)
                continue
            after = self._after(passage, one[:place])
            self._count(float(after[one[place]] - after[other[place]]))

    def add_hypotheses(self, batch: list[ScoringInput], theirs: list[Hypothesis], ours: list[Hypothesis]) -> None:
        """Count outputs of beam search; if two differ, their scores give the margin."""
        for _, one, other in zip(batch, theirs, ours, strict=True):
            if one.tokens == other.tokens:
                self.n_identical += 1
            else:
                self._count(abs(one.score - other.score))

    def _count(self, margin: float) -> None:
        if margin <= TIE:
            self.n_ties += 1
            self.n_identical += 1

    def _after(self, passage: ScoringInput, output: list[int]) -> FloatArray:
        """The log-probabilities of the next token after a part of an output, (V,)."""
        state = self.network.state()
        _encode(state, [passage])
        found: FloatArray = state.forced(np.array([[*_prompt(passage, self.special), *output]]))[0, -1]
        return found
