"""Attention masks; True means "may attend"."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Causal:
    """Causal attention within each text, for kernels that need no mask."""

    bounds: Tensor | None = None  # starts of texts within the tokens of all rows, and the end, (N + 1,), int32
    longest: int = 0  # length of the longest text
    window: int | None = None  # number of tokens that a token attends to, including itself; None: all


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Mask padding for every query: token ids, (B, S), to a mask, (B, 1, 1, S)."""
    return (ids != pad_id)[:, None, None, :]


def causal_mask(size: int, device: torch.device) -> Tensor:
    """Let each position attend to itself and earlier ones (section 3.2.3): (T, T)."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


def text_mask(positions: Tensor) -> Tensor:
    """Let each token attend to itself and earlier ones of its own text: positions, (B, T), to a mask, (B, 1, T, T).

    A row holds several texts one after another; each begins at position 0.
    """
    T = positions.shape[1]
    begins = torch.arange(T, device=positions.device) - positions  # start of the text of each token, (B, T)
    same = begins[:, :, None] == begins[:, None, :]
    return (same & causal_mask(T, positions.device))[:, None]


def packed(positions: Tensor, device: torch.device) -> Causal:
    """The equivalent of `text_mask` for such kernels.

    Args:
        positions: (B, T), on the CPU, so that finding the texts needs no GPU sync.
        device: The device of attention.
    """
    begins = (positions.flatten() == 0).nonzero().squeeze(1)
    bounds = torch.cat([begins, begins.new_tensor([positions.numel()])])
    return Causal(bounds.int().to(device, non_blocking=True), int(bounds.diff().max()))


def window_mask(distances: Tensor, window: int) -> Tensor:
    """Mask keys `window` or more positions away on either side: distances, (…, T, S), to a mask."""
    return distances.abs() < window


def as_numbers(mask: Tensor) -> Tensor:
    """An additive mask: 0 where a query may attend, minus infinity elsewhere."""
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, -torch.inf)
