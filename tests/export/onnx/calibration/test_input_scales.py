"""Scales of what int8 products read: the best ones there are, and none where rows vary too much for one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heed.export.onnx.calibration.input_scales import PRECISE, _levels, _Sizes
from heed.models.spec.network import NetworkSpec
from heed.models.spec.stack import FeedForwardSpec, StackSpec


def error(rows: Tensor, scale: float, levels: int) -> float:
    """The mean error of a row, relative to its size, in squares."""
    rounded = (rows / scale).round().clamp(max=levels) * scale
    return float(((rounded - rows).square().sum(1) / rows.square().sum(1)).mean())


def found_scale(rows: Tensor, levels: int) -> float | None:
    sizes = _Sizes(float(rows.max()), levels)
    for part in rows.split(7):
        sizes.add(part)
    return sizes.scale()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([127, 255]), st.floats(1e-3, 1e3))
def test_no_scale_has_a_smaller_error_than_the_one_found(seed: int, levels: int, size: float) -> None:
    """But for those between the ones that are tried: they gain less than a tenth."""
    rows = torch.randn(40, 100, generator=torch.Generator().manual_seed(seed)).abs() * size
    found = found_scale(rows, levels)
    assert found is not None
    largest = float(rows.max()) / levels
    best = min(error(rows, scale, levels) for scale in np.linspace(largest / 8, largest, 400).tolist())
    assert error(rows, found, levels) <= 1.1 * best


@pytest.mark.parametrize("times", [2, 5, 1000])
def test_rows_of_widely_varying_size_keep_scales_of_their_own(times: float) -> None:
    """One row as large as all others together must not count for them: they would be rounded to nothing."""
    rows = torch.rand(200, 64, generator=torch.Generator().manual_seed(1))
    rows[17] *= times
    assert (found_scale(rows, 127) is None) == (times == 1000)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(1, 300))
def test_a_scale_is_as_precise_as_it_has_to_be(seed: int, times: float) -> None:
    """On both sides of the bound: where there is none, even the best would be too coarse."""
    rows = torch.rand(60, 40, generator=torch.Generator().manual_seed(seed))
    rows[::2] *= times
    found, largest = found_scale(rows, 127), float(rows.max()) / 127
    if found is None:
        assert min(error(rows, scale, 127) for scale in np.linspace(largest / 5, largest, 41)) > 0.95 / PRECISE
    else:
        assert error(rows, found, 127) < 1.05 / PRECISE


@pytest.mark.parametrize(
    ("feed_forward", "levels"),
    [
        (FeedForwardSpec(activation="relu"), 255),
        (FeedForwardSpec(activation="gelu"), 127),
        (FeedForwardSpec(activation="relu", gated=True), 127),
    ],
)
def test_what_a_relu_puts_out_has_all_levels_of_a_byte(feed_forward: FeedForwardSpec, levels: int) -> None:
    spec = NetworkSpec(decoder=StackSpec(feed_forward=feed_forward))
    assert _levels(spec, "decoder.layers.0.feed_forward.outer") == levels
    assert _levels(spec, "encoder.layers.0.feed_forward.outer") == 255
    assert _levels(spec, "decoder.layers.0.feed_forward.inner") == 127
    assert _levels(spec, spec.output) == 127
