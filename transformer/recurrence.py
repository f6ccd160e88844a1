"""Recurrence in place of a decoder's self-attention, so that a token costs the same at every position."""

import torch
from torch import Tensor, nn

from heed.transformer.attention import AttentionInputs
from heed.transformer.kernels.linear import Linear


class StateCache:
    """The states of a decoder layer, each in the slot of the token after which it is."""

    def __init__(self) -> None:
        self._states: Tensor | None = None  # (B, C, D)

    def read(self, slots: Tensor) -> Tensor | float:
        """The states in slots, (B, T), and zeros for slots below 0: (B, T, D); 0 before anything was written."""
        if self._states is None:
            return 0.0
        rows = torch.arange(len(slots), device=slots.device)[:, None]
        return self._states[rows, slots.clamp(min=0)] * (slots >= 0)[..., None]

    def write(self, states: Tensor, slots: Tensor, n_slots: int) -> None:
        """Write states, (B, T, D), to slots, (B, T), of at least `n_slots`."""
        B, _, D = states.shape
        held = states.new_zeros(B, 0, D) if self._states is None else self._states
        held = torch.cat([held, states.new_zeros(B, max(0, n_slots - held.shape[1]), D)], dim=1)
        held[torch.arange(B, device=slots.device)[:, None], slots] = states
        self._states = held

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch."""
        if self._states is not None:
            self._states = self._states[rows]


class SSRU(nn.Module):
    """A simpler simple recurrent unit (Kim et al., 2019, "From Research to Production and Back").

    c_t = f_t · c_(t-1) + (1 - f_t) · W x_t with the forget gate f_t = sigmoid(W_f x_t + b_f); it puts out ReLU(c_t).

    Args:
        d_model: Width (D).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.candidate = Linear(d_model, d_model, bias=False)
        self.forget = Linear(d_model, d_model)

    def forward(self, x: Tensor, inputs: AttentionInputs, cache: StateCache | None = None) -> Tensor:
        """What tokens x, (B, T, D), and those before them leave in the state: (B, T, D).

        Args:
            x: Inputs.
            inputs: The slot of the token before each; without slots, x is one text a row, from its beginning.
            cache: States of earlier tokens, extended by those of x.
        """
        forget, candidate = self.forget(x).float().sigmoid(), self.candidate(x).float()
        new = (1 - forget) * candidate
        if inputs.previous is None:
            states = _scan(forget, new)
        else:
            assert cache is not None
            states = forget * cache.read(inputs.previous) + new
        if cache is not None:
            assert inputs.slots is not None
            assert isinstance(inputs.mask, Tensor)
            cache.write(states, inputs.slots, inputs.mask.shape[-1])
        return states.relu().to(x.dtype)


def _scan(forget: Tensor, new: Tensor) -> Tensor:
    """c_t = f_t · c_(t-1) + n_t from c_0 = 0, for f and n of (B, T, D)."""
    states, state = [], torch.zeros_like(new[:, 0])
    for forget_t, new_t in zip(forget.unbind(1), new.unbind(1), strict=True):
        state = forget_t * state + new_t
        states.append(state)
    return torch.stack(states, dim=1)


def previous_slots(mask: Tensor, positions: Tensor, keys: Tensor) -> Tensor:
    """The slot of the token before each: of those that it sees, the one with the last position below its own.

    Args:
        mask: True at slots that it sees, (B, 1, T, C).
        positions: Its position, (B, 1) or (B, T).
        keys: Positions of the tokens in slots, (B, C).

    Returns:
        (B, T); -1 where no token is before it.
    """
    earlier = mask[:, 0] & (keys[:, None] < positions[:, :, None])
    last, slots = torch.where(earlier, keys[:, None], -1).max(dim=-1)
    return torch.where(last < 0, last, slots)
