"""Who may attend to whom; True means "may attend"."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Causal:
    """Each token sees itself and what came before it in its own text, for kernels that need no mask for it."""

    bounds: Tensor | None = None  # where texts begin among all tokens of all rows, and the end, (N + 1,), int32
    longest: int = 0  # tokens of the longest text
    window: int | None = None  # tokens that one sees, itself included; None: all


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Hide padding from every query: (B, S) token ids to a mask (B, 1, 1, S)."""
    return (ids != pad_id)[:, None, None, :]


def causal_mask(size: int, device: torch.device) -> Tensor:
    """Let each position see itself and what came before it (section 3.2.3): (T, T)."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


def text_mask(positions: Tensor) -> Tensor:
    """Let each token see itself and what came before it in its own text: positions, (B, T), to a mask (B, 1, T, T).

    Texts stand one after another in a row; each begins at position 0.
    """
    T = positions.shape[1]
    begins = torch.arange(T, device=positions.device) - positions  # where the text of each token begins, (B, T)
    same = begins[:, :, None] == begins[:, None, :]
    return (same & causal_mask(T, positions.device))[:, None]


def packed(positions: Tensor, device: torch.device) -> Causal:
    """What `text_mask` says, without a mask.

    Args:
        positions: (B, T). On the CPU, where looking for the texts waits for no GPU.
        device: Where attention is computed.
    """
    begins = (positions.flatten() == 0).nonzero().squeeze(1)
    bounds = torch.cat([begins, begins.new_tensor([positions.numel()])])
    return Causal(bounds.int().to(device, non_blocking=True), int(bounds.diff().max()))


def window_mask(distances: Tensor, window: int) -> Tensor:
    """Hide what is `window` positions away or more, before or behind: distances, (…, T, S), to a mask."""
    return distances.abs() < window


def as_numbers(mask: Tensor) -> Tensor:
    """A mask as what is added to scores: 0 where a query may look, and minus infinity where it may not."""
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, -torch.inf)
