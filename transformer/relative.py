"""Attention to distances: Transformer-XL's relative positions, and XLNet's segments (arXiv 1901.02860, 1906.08237)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from heed.models.spec.positions import RelativeSinusoids, Sinusoidal
from heed.models.spec.stack import AttentionSpec
from heed.transformer.kernels.linear import Linear
from heed.transformer.positions import sinusoids

HALVES = Sinusoidal(layout="halves")


class Distances(NamedTuple):
    """The distances of a batch's tokens, the same for all layers."""

    sinusoids: Tensor  # of distances T, T - 1, …, 1 - T, the position of the query minus that of the key, (2T, D)
    apart: Tensor  # True where one of query and key is the last token of its text, (B, 1, T, T)


def distances(src_mask: Tensor, d_model: int) -> Distances:
    """The distances of tokens in texts with padding behind them.

    Args:
        src_mask: True at real tokens, (B, 1, 1, T).
        d_model: Width (D), even.
    """
    T = src_mask.shape[-1]
    last = torch.arange(T, device=src_mask.device) == src_mask.sum(-1, keepdim=True) - 1  # (B, 1, 1, T)
    descending = torch.arange(T, -T, -1, device=src_mask.device)
    return Distances(sinusoids(descending, d_model, HALVES), last ^ last.transpose(-1, -2))


class RelativeScores(nn.Module):
    """The scores of distances and segments, in addition to those of queries and keys.

    Args:
        spec: The specification of attention.
        positions: That of positions.
        d_model: Width (D).
    """

    def __init__(self, spec: AttentionSpec, positions: RelativeSinusoids, d_model: int) -> None:
        super().__init__()
        self.spec, width = spec, spec.d_heads
        self.distance = Linear(d_model, width, bias=False)
        # Biases of queries where they meet keys of tokens, of distances and of segments.
        self.content_bias, self.distance_bias = (nn.Parameter(torch.empty(width)) for _ in range(2))
        if positions.last_apart:
            self.segment_bias, self.segment = (nn.Parameter(torch.empty(width)) for _ in range(2))
        self.last_apart = positions.last_apart

    def content(self, q: Tensor) -> Tensor:
        """Queries, (B, H, T, K), as they meet keys of tokens."""
        return q + self._by_head(self.content_bias)

    def forward(self, q: Tensor, inputs: Distances) -> Tensor:
        """The scores of queries, (B, H, T, K), before scaling: (B, H, T, T)."""
        keys = self.distance(inputs.sinusoids).unflatten(-1, (-1, self.spec.d_head)).transpose(0, 1)  # (H, 2T, K)
        scores = shifted((q + self._by_head(self.distance_bias)) @ keys.transpose(-2, -1))
        if self.last_apart:
            of_segment = (q + self._by_head(self.segment_bias)) @ self._by_head(self.segment).transpose(-2, -1)
            scores = scores + of_segment * inputs.apart  # (B, H, T, 1) times (B, 1, T, T)
        return scores

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 1, self.spec.d_head))  # (H, 1, K)


def shifted(scores: Tensor) -> Tensor:
    """Scores by key instead of distance.

    Args:
        scores: Of distances T, T - 1, …, 1 - T for each query, (B, H, T, 2T).

    Returns:
        Those of query i and key j from the column of distance i - j: (B, H, T, T).
    """
    T = scores.shape[2]
    # Without the first T numbers of a head's matrix, row i of 2T - 1 numbers begins at the distance i.
    return scores.flatten(2)[..., T:].unflatten(-1, (T, 2 * T - 1))[..., :T]
