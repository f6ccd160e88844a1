import math

import pytest
import torch
from torch.testing import assert_close

from heed.transformer.kernels.dropout import Dropout

N = 1_000_003  # not a multiple of 4, for one draw decides about four activations


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_the_share_dropped_is_p(p: float) -> None:
    """The number dropped is binomial: N p of N, with variance N p (1 - p), p being met to 2^-17.

    A share off by more than 6 standard deviations has a probability of 2·10^-9 for each p (by the
    normal approximation), so for all five a false alarm comes once in 10^8 seeds.
    """
    dropped = (Dropout(p)(torch.ones(N)) == 0).double().mean().item()
    assert abs(dropped - p) < 6 * math.sqrt(p * (1 - p) / N) + 2**-17


def test_neighbours_are_dropped_independently() -> None:
    """The four decisions of one draw are four: both of two neighbours go with p²; bound as above."""
    p = 0.3
    dropped = Dropout(p)(torch.ones(N)) == 0
    for distance in (1, 2, 3, 4):
        both = (dropped[distance:] & dropped[:-distance]).double().mean().item()
        # Overlapping pairs are not independent; their variance is below 3 p² / N.
        assert abs(both - p**2) < 6 * math.sqrt(3 * p**2 / N) + 2**-16


def test_what_is_kept_is_scaled_so_that_the_mean_stays() -> None:
    p, x = 0.1, torch.full((3, 5, 7), 2.0)
    found = Dropout(p)(x)
    assert 0 < (found == 0).sum() < found.numel()
    assert_close(found[found != 0], torch.full_like(found[found != 0], 2 / (1 - p)))


def test_the_expectation_is_kept() -> None:
    """A mean of N values, each 0 or 1 / (1 - p), has variance p / (1 - p) / N; bound as above."""
    p = 0.3
    mean = Dropout(p)(torch.ones(N)).double().mean().item()
    assert abs(mean - 1) < 6 * math.sqrt(p / (1 - p) / N) + 2**-16


def test_all_but_nothing_is_kept_near_1() -> None:
    """A threshold that overflowed 16 bits would keep everything, times a million."""
    assert (Dropout(0.999999)(torch.ones(100)) == 0).all()  # a false alarm has odds of 100 · 2^-16


def test_nothing_is_dropped_in_use_nor_at_0() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_mask_times_scale(dtype: torch.dtype) -> None:
    x = torch.randn(3, 5, 7, dtype=dtype, requires_grad=True)
    slope = torch.randn(3, 5, 7, dtype=dtype)
    y = Dropout(0.4)(x)
    (gradient,) = torch.autograd.grad(y, x, slope)
    scale = torch.tensor(1 / (1 - 0.4), dtype=dtype)
    assert y.dtype == dtype
    assert_close(gradient, torch.where(y == 0, 0, slope * scale))
    assert_close(y, torch.where(y == 0, 0, x * scale))


def test_the_same_seed_drops_the_same() -> None:
    dropout, x = Dropout(0.5), torch.ones(64)
    torch.manual_seed(7)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(7)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)
