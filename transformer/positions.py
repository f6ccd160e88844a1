"""Positional encoding (section 3.5), and the rotary form of later models."""

import math

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]  # cosines and sines of the angles by which pairs of numbers are turned, (…, T, K/2)


def sinusoids(positions: Tensor, d_model: int) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i/D)) and PE(p, 2i+1) = cos(the same).

    Args:
        positions: Positions from 0, (T,).
        d_model: Width (D), even.

    Returns:
        Encodings, (T, D).
    """
    angles = _angles(positions, d_model)  # (T, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (T, D)


def rotation(positions: Tensor, d_head: int) -> Rotation:
    """The rotation of queries and keys at positions from 0, (B, T), of heads of width K (arXiv 2104.09864).

    The angles are those of the sinusoids. A query's product with a key then depends on their positions' distance alone.

    Returns:
        Cosines and sines, (B, 1, T, K/2).
    """
    angles = _angles(positions, d_head)[:, None]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, by: Rotation | None) -> Tensor:
    """Turn x, (B, H, T, K): number i of a head makes a pair with number i + K/2."""
    if by is None:
        return x
    (cos, sin), (first, second) = by, x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def _angles(positions: Tensor, width: int) -> Tensor:
    """p / 10000^(2i/width), (…, width/2)."""
    even = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    return positions[..., None].float() * torch.exp(even * (-math.log(10000.0) / width))
