"""How a network knows the position of a token (section 3.5), and the forms of later models."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from heed.models.spec.positions import RelativeBuckets, Rotary, RotaryScaling, Sinusoidal

PAPER = Sinusoidal()


class Rotation(NamedTuple):
    """By which angles pairs of a head's numbers are turned."""

    cos: Tensor  # (T, R/2) or (B, 1, T, R/2)
    sin: Tensor
    interleaved: bool = False  # whether number 2i makes a pair with 2i + 1, and not i with i + R/2


def sinusoids(positions: Tensor, d_model: int, spec: Sinusoidal = PAPER) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i/D)) and PE(p, 2i+1) = cos(the same).

    Args:
        positions: Positions from 0, (…, T).
        d_model: Width (D), even.
        spec: Which layout and rates; the default is the paper's.

    Returns:
        Encodings, (…, T, D).
    """
    widths = d_model if spec.spacing == "paper" else d_model - 2  # so that the last rate is 1/10000
    angles = _angles(positions + spec.offset, _rates(d_model // 2, widths, 10000.0, positions.device))  # (…, T, D/2)
    if spec.layout == "halves":
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def rotation(positions: Tensor, d_head: int, spec: Rotary) -> Rotation:
    """The rotation of queries and keys at positions from 0 (Su et al., 2021, arXiv 2104.09864).

    A query's product with a key then depends on their positions' distance alone.

    Args:
        positions: (T,) or (B, T).
        d_head: Width of a head (K).
        spec: Rates, and how much of a head turns (R).
    """
    width = spec.d_rotary or d_head
    rates, factor = _rates(width // 2, width, spec.base, positions.device), 1.0
    if spec.scaling:
        rates, factor = _scaled(rates, spec.scaling, spec.base)
    angles = _angles(positions, rates)
    angles = angles[:, None] if positions.dim() > 1 else angles
    return Rotation(angles.cos() * factor, angles.sin() * factor, spec.interleaved)


def rotate(x: Tensor, by: Rotation | None) -> Tensor:
    """Turn the first R numbers of each head of x, (B, H, T, K); the others stay."""
    if by is None:
        return x
    width = 2 * by.cos.shape[-1]
    turning = x[..., :width].float()
    first, second = (turning[..., ::2], turning[..., 1::2]) if by.interleaved else turning.chunk(2, dim=-1)
    pairs = first * by.cos - second * by.sin, second * by.cos + first * by.sin
    turned = (torch.stack(pairs, dim=-1).flatten(-2) if by.interleaved else torch.cat(pairs, dim=-1)).to(x.dtype)
    return turned if width == x.shape[-1] else torch.cat([turned, x[..., width:]], dim=-1)


def buckets(distances: Tensor, spec: RelativeBuckets, *, two_sided: bool) -> Tensor:
    """The bucket of each distance from a query to a key, position of the key minus that of the query (T5).

    Args:
        distances: Of any shape.
        spec: How many buckets, and from which distance on all are in the last one.
        two_sided: Whether half of the buckets are for keys behind the query, or what is behind is in bucket 0.
    """
    n = spec.n_buckets // 2 if two_sided else spec.n_buckets
    first = (distances > 0) * n if two_sided else torch.zeros_like(distances)
    far = distances.abs() if two_sided else -distances.clamp(max=0)
    exact = n // 2  # each of these distances has a bucket of its own
    share = (far.float().clamp(min=1) / exact).log() / math.log(spec.max_distance / exact)
    logarithmic = (exact + (share * (n - exact)).long()).clamp(max=n - 1)
    return first + torch.where(far < exact, far, logarithmic)


def _rates(n: int, width: int, base: float, device: torch.device) -> Tensor:
    """base^(-2i/width) for i below n, (n,)."""
    even = torch.arange(0, 2 * n, 2, device=device, dtype=torch.float32)
    return torch.exp(even * (-math.log(base) / width))


def _angles(positions: Tensor, rates: Tensor) -> Tensor:
    return positions[..., None].float() * rates


def _scaled(rates: Tensor, scaling: RotaryScaling, base: float) -> tuple[Tensor, float]:
    """Rates for texts longer than those of the first training, and what cosines and sines are times."""
    if scaling.method == "linear":
        return rates / scaling.factor, 1.0
    if scaling.method == "llama3":
        return _llama3(rates, scaling), 1.0
    return _yarn(rates, scaling, base)


def _llama3(rates: Tensor, scaling: RotaryScaling) -> Tensor:
    """Fast rates stay, slow ones are divided, and between there is a blend (Llama 3.1)."""
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    rotations = scaling.original_positions * rates / (2 * math.pi)  # over a text of the first training
    share = ((rotations - low) / (high - low)).clamp(0, 1)  # of the rate as it was
    return share * rates + (1 - share) * rates / scaling.factor


def _yarn(rates: Tensor, scaling: RotaryScaling, base: float) -> tuple[Tensor, float]:
    """Fast rates stay and slow ones are divided, by a ramp over dimensions (Peng et al., 2023, arXiv 2309.00071)."""
    n = len(rates)

    def dimension(rotations: float) -> float:
        """Which rate turns so often over a text of the first training."""
        return n * math.log(scaling.original_positions / (rotations * 2 * math.pi)) / math.log(base)

    low = max(math.floor(dimension(scaling.beta_fast)), 0)
    high = min(math.ceil(dimension(scaling.beta_slow)), 2 * n - 1)
    ramp = (torch.arange(n, device=rates.device) - low) / max(high - low, 0.001)
    share = 1 - ramp.clamp(0, 1)  # of the rate as it was
    factor = scaling.attention_factor
    if factor is None:
        factor = 0.1 * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0
    return share * rates + (1 - share) * rates / scaling.factor, factor
