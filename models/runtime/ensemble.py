"""Ensembles: several networks with one vocabulary, whose log-probabilities are averaged."""

from collections.abc import Callable, Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Network, Padded, State
from heed.models.spec.network import NetworkSpec


class EnsembleNetwork:
    """An ensemble; see `heed.models.runtime.protocol.Network`.

    Args:
        members: Networks with one vocabulary, each without a shortlist.

    Raises:
        ModelError: The sizes of their vocabularies differ.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        self._members = members
        sizes = {tuple(stack.vocab_size for stack in each.spec.stacks.values()) for each in members}
        if len(sizes) > 1:
            raise ModelError("the models of an ensemble must have one vocabulary; these have several")

    @property
    def spec(self) -> NetworkSpec:
        """The description of the first member, or of one that reads shorter sources."""
        return min((each.spec for each in self._members), key=_source_limit)

    @property
    def context(self) -> int | None:
        """See `heed.models.runtime.protocol.Network`."""
        return min((each.context for each in self._members if each.context is not None), default=None)

    def state(self) -> "EnsembleState":
        """See `heed.models.runtime.protocol.Network`."""
        return EnsembleState([each.state() for each in self._members])


class EnsembleState:
    """See `heed.models.runtime.protocol.State`.

    Args:
        members: A state of each network.
    """

    def __init__(self, members: Sequence[State]) -> None:
        self._members = members

    def encode(self, src: IntArray, src_mask: BoolArray, needed: Padded | None = None) -> None:
        """See `heed.models.runtime.protocol.State`."""
        for each in self._members:
            each.encode(src, src_mask, needed)

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        """See `heed.models.runtime.protocol.State`."""
        for each in self._members:
            each.prefill(prompts, prompt_mask, alone=alone)

    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
        live: BoolArray | None = None,  # noqa: ARG002
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.State`."""
        every = self.log_probs(tokens, position, slots, mask)  # (B, W, V)
        ids = np.argsort(-every, axis=2, kind="stable")[:, :, :top]
        ids = ids if wanted is None else np.concatenate([ids, wanted], axis=2)
        return np.take_along_axis(every, ids, axis=2), ids

    def log_probs(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        return self._mean(lambda state: state.log_probs(tokens, position, slots, mask))

    def forced(self, tgt: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        return self._mean(lambda state: state.forced(tgt, src_mask))

    def score(self, tgt: IntArray, targets: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        return self._mean(lambda state: state.score(tgt, targets, src_mask))

    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        for each in self._members:
            each.keep(rows)

    def _mean(self, log_probs: Callable[[State], FloatArray]) -> FloatArray:
        """The average over the members, in memory of the first."""
        total = log_probs(self._members[0])
        for each in self._members[1:]:
            total += log_probs(each)
        total /= np.float32(len(self._members))
        return total


def _source_limit(spec: NetworkSpec) -> float:
    """Maximum number of tokens of a source."""
    return (spec.encoder and spec.encoder.n_positions) or np.inf
