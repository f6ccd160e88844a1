"""The decoding protocol for PyTorch networks: NumPy in, candidates and log-probabilities out."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.runtime.protocol import Padded
from heed.models.spec.network import NetworkSpec
from heed.transformer.attention import AttentionInputs
from heed.transformer.block import new_cache
from heed.transformer.masks import as_numbers, causal_mask
from heed.transformer.model import Stack, Transformer

SCORED = 1 << 22  # logits in memory at a time while scoring


class TorchState:
    """The state of decoding with a PyTorch network; see `heed.models.runtime.protocol.State`."""

    def __init__(self, network: Transformer) -> None:
        assert network.decoder is not None, "decoding needs a decoder"
        self._network, self._decoder = network, network.decoder
        self._device = network.output_weight.device
        self._memory: AttentionInputs | None = None
        self._prefilled = _Prefilled(network.decoder, self._array(np.zeros((0, 0), dtype=bool)))

    @torch.inference_mode()
    def encode(self, src: IntArray, src_mask: BoolArray, needed: Padded | None = None) -> None:  # noqa: ARG002
        """See `heed.models.runtime.protocol.State`."""
        mask = self._array(src_mask)[:, None, None]
        self._memory = AttentionInputs(as_numbers(mask), memory=self._network.encode(self._array(src), mask))

    @torch.inference_mode()
    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:  # noqa: ARG002
        """See `heed.models.runtime.protocol.State`."""
        self._prefilled = _Prefilled(self._decoder, self._array(prompt_mask[:, 1:]))
        if prompts.shape[1] > 1:
            inputs = self._prefilled.whole_inputs()
            positions = self._prefilled.prompt_positions
            self._network.decode(self._array(prompts[:, :-1]), positions, inputs, self._memory, self._prefilled.caches)

    @torch.inference_mode()
    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
        live: BoolArray | None = None,  # noqa: ARG002 - all are computed
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.State`."""
        log_probs = self._log_probs(tokens, np.array([position]), slots, mask)
        values, ids = log_probs.topk(min(top, log_probs.shape[-1]), dim=-1)
        if wanted is not None:
            ids = torch.cat([ids, self._array(wanted)], dim=-1)
            values = log_probs.gather(-1, ids)
        return values.cpu().numpy(), ids.cpu().numpy()

    @torch.inference_mode()
    def log_probs(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        steps = np.array([position])
        if slots is None:
            steps = np.arange(position, position + tokens.shape[1])
            slots = np.tile(steps, (len(tokens), 1))
            mask = np.arange(steps[-1] + 1) <= slots[:, :, None]
        found: FloatArray = self._log_probs(tokens, steps, slots, mask).cpu().numpy()
        return found

    @torch.inference_mode()
    def forced(self, tgt: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        found: FloatArray = _normal(self._network.logits(self._states(tgt, src_mask))).cpu().numpy()
        return found

    @torch.inference_mode()
    def score(self, tgt: IntArray, targets: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        states, wanted = self._states(tgt, src_mask).flatten(0, 1), self._array(targets).flatten()
        size = max(1, SCORED // len(self._network.output_weight))
        parts = zip(states.split(size), wanted[:, None].split(size), strict=True)
        found = [_normal(self._network.logits(some)).gather(1, of) for some, of in parts]
        scores: FloatArray = torch.cat(found).view(targets.shape).cpu().numpy()
        return scores

    @torch.inference_mode()
    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        chosen = self._array(rows)
        if self._memory is not None:
            self._memory = _kept(self._memory, chosen)
        self._prefilled.keep(chosen)

    def _log_probs(self, tokens: IntArray, steps: IntArray, slots: IntArray, mask: BoolArray) -> Tensor:
        """The log-probabilities after each token, (B, W, V), read in the same step or in one each, (1 or W,)."""
        arrays = (self._array(array) for array in (steps, slots, mask))
        positions, inputs = self._prefilled.step_inputs(*arrays)
        states = self._network.decode(self._array(tokens), positions, inputs, self._memory, self._prefilled.caches)
        return _normal(self._network.logits(states))

    def _states(self, tgt: IntArray, src_mask: BoolArray | None) -> Tensor:
        """The final states for each token of complete outputs, (B, T, D)."""
        memory, positions = self._memory, torch.arange(tgt.shape[1], device=self._device)
        if memory is not None and src_mask is not None:
            memory = AttentionInputs(as_numbers(self._array(src_mask)[:, None, None]), memory=memory.memory)
        inputs = self._decoder.causal_inputs(positions, self._device)
        return self._network.decode(self._array(tgt), positions, inputs, memory)

    def _array(self, array: IntArray | BoolArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class _Prefilled:
    """Prefilled prompts and the tokens of later steps: keys, values and positions.

    Args:
        decoder: The decoder stack.
        mask: True at slots with a token of a prompt, (B, P - 1), without the last token of each.
    """

    def __init__(self, decoder: Stack, mask: Tensor) -> None:
        self._decoder, self._mask = decoder, mask
        self.caches = [new_cache(decoder.spec) for _ in decoder.layers]
        self._positions = torch.arange(mask.shape[1], device=mask.device).expand(
            len(mask), -1
        )  # positions of the tokens in slots, (B, C)

    @property
    def prompt_positions(self) -> Tensor:
        return torch.arange(self._mask.shape[1], device=self._mask.device)

    def whole_inputs(self) -> AttentionInputs:
        """What the tokens of prompts attend to."""
        positions = self.prompt_positions
        mask = causal_mask(len(positions), positions.device)
        return self._decoder.attention_inputs(mask, positions, slots=positions.expand(len(self._mask), -1))

    def step_inputs(self, steps: Tensor, slots: Tensor, mask: Tensor) -> tuple[Tensor, AttentionInputs]:
        """The positions of tokens, (B, 1 or W), and what they attend to; see `State.step`."""
        n_prompt, n_slots = self._mask.shape[1], self._mask.shape[1] + mask.shape[2]
        positions = self._mask.sum(dim=1, keepdim=True) + steps
        if (limit := self._decoder.spec.n_positions) is not None:
            positions = positions.clamp(max=limit - 1)
        lacking = n_slots - self._positions.shape[1]
        self._positions = functional.pad(self._positions, (0, max(0, lacking)))
        self._positions.scatter_(1, slots + n_prompt, positions.expand_as(slots))
        seen = torch.cat([self._mask[:, None].expand(-1, mask.shape[1], -1), mask], dim=2)
        seen = functional.pad(seen, (0, max(0, -lacking)))[:, None]  # (B, 1, W, all slots): drafts may have left some
        return positions, self._decoder.attention_inputs(seen, positions, self._positions, slots + n_prompt)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows."""
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        for cache in self.caches:
            cache.own.keep(rows)
            cache.memory.keep(rows)


def _kept(inputs: AttentionInputs, rows: Tensor) -> AttentionInputs:
    assert isinstance(inputs.mask, Tensor)
    assert inputs.memory is not None
    return AttentionInputs(inputs.mask[rows], memory=inputs.memory[rows])


def _normal(logits: Tensor) -> Tensor:
    """The log-softmax of logits."""
    return logits.float().log_softmax(-1)


class TorchNetwork:
    """A PyTorch network for decoding; see `heed.models.runtime.protocol.Network`."""

    def __init__(self, network: Transformer) -> None:
        self._network = network

    @property
    def spec(self) -> NetworkSpec:
        """See `heed.models.runtime.protocol.Network`."""
        return self._network.spec

    @property
    def context(self) -> int | None:
        """See `heed.models.runtime.protocol.Network`."""
        decoder = self.spec.decoder
        return decoder.n_positions if decoder else None

    def state(self) -> TorchState:
        """See `heed.models.runtime.protocol.Network`."""
        return TorchState(self._network)
