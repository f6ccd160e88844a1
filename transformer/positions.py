"""Positional encoding (section 3.5)."""

import math

import torch
from torch import Tensor


def sinusoids(positions: Tensor, d_model: int) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i/D)) and PE(p, 2i+1) = cos(the same).

    Args:
        positions: Positions from 0, (T,).
        d_model: Width (D), even.

    Returns:
        Encodings, (T, D).
    """
    even = torch.arange(0, d_model, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None].float() * torch.exp(even * (-math.log(10000.0) / d_model))  # (T, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (T, D)
