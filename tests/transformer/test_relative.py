"""Attention to distances: the formulas of Transformer-XL and XLNet, term by term."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from heed.models.spec.positions import RelativeSinusoids
from heed.models.spec.stack import AttentionSpec
from heed.transformer.relative import RelativeScores, distances, shifted

B, T, H, K, D = 2, 5, 3, 4, 10
MASK = torch.tensor([[True] * T, [True] * 3 + [False] * 2])[:, None, None]


def waves(distance: int) -> Tensor:
    """Sines, then cosines, of a distance."""
    rates = [10000 ** (-2 * i / D) for i in range(D // 2)]
    return torch.tensor([wave(distance * rate) for wave in (math.sin, math.cos) for rate in rates])


@pytest.mark.parametrize("last_apart", [False, True])
@torch.no_grad()
def test_scores_are_those_of_the_papers(last_apart: bool) -> None:
    """(q + v)·(W r), with the distance's waves r, and (q + w)·s between the last token of a text and others."""
    spec = AttentionSpec(n_heads=H, n_kv_heads=H, d_head=K)
    scores = RelativeScores(spec, RelativeSinusoids(last_apart=last_apart), D)
    for parameter in scores.parameters():
        parameter.copy_(torch.randn_like(parameter))
    q, lasts = torch.randn(B, H, T, K), [4, 2]
    found = scores(q, distances(MASK, D))
    matrix = scores.distance.weight.unflatten(0, (H, K))
    for b, h, i, j in torch.cartesian_prod(*map(torch.arange, (B, H, T, T))).tolist():
        expected = (q[b, h, i] + scores.distance_bias.unflatten(0, (H, K))[h]) @ (matrix[h] @ waves(i - j))
        if last_apart and (i == lasts[b]) != (j == lasts[b]):
            segment = scores.segment.unflatten(0, (H, K))[h]
            expected += (q[b, h, i] + scores.segment_bias.unflatten(0, (H, K))[h]) @ segment
        assert_close(found[b, h, i, j], expected, rtol=1e-4, atol=1e-4)
    assert_close(scores.content(q) - q, scores.content_bias.unflatten(0, (H, 1, K)).expand_as(q))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_score_of_a_distance_goes_to_its_key(size: int) -> None:
    columns = torch.arange(size, -size, -1).expand(B, H, size, 2 * size)
    positions = torch.arange(size)
    assert torch.equal(shifted(columns), (positions[:, None] - positions).expand(B, H, size, size))
