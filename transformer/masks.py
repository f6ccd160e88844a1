"""Who may attend to whom; True means "may attend"."""

import torch
from torch import Tensor


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
    return (same & torch.ones(T, T, dtype=torch.bool, device=positions.device).tril())[:, None]
