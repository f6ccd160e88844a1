"""Rowwise quantization, of trained weights and of those that were quantized before."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from heed.export.onnx.rowwise import LARGEST, quantize_rows

RANDOM = np.random.default_rng(6)
ROWS, COLUMNS = 50, 40
STEP = np.float32(0.0173)


@pytest.fixture
def integers() -> np.ndarray:
    """Rows of a byte's integers, every other one of small ones."""
    found = RANDOM.integers(-127, 128, (ROWS, COLUMNS))
    found[::2] = RANDOM.integers(-50, 51, found[::2].shape)
    found[:, 0] = 1  # so that no row has a coarser step
    return found


def test_trained_weights_are_off_by_half_a_step_at_most() -> None:
    matrix = RANDOM.standard_normal((ROWS, COLUMNS), dtype=np.float32)
    numbers, scales = quantize_rows(matrix)
    assert np.abs(numbers).max(axis=1).tolist() == [LARGEST] * ROWS
    assert (np.abs(numbers * scales[:, None] - matrix) <= scales[:, None] / 2 * (1 + 1e-5)).all()


def test_small_integers_stay_and_others_are_rounded(integers: np.ndarray) -> None:
    matrix = integers.astype(np.float32) * STEP
    numbers, scales = quantize_rows(matrix)
    small = np.abs(integers).max(axis=1) <= LARGEST
    assert_array_equal(numbers[small], integers[small])
    assert_allclose(scales[small], STEP, rtol=1e-5)
    assert np.abs(numbers[~small]).max(axis=1).tolist() == [LARGEST] * int((~small).sum())
    assert (np.abs(numbers * scales[:, None] - matrix) <= scales[:, None] / 2 * (1 + 1e-5)).all()


def test_parts_of_a_matrix_may_have_steps_of_their_own(integers: np.ndarray) -> None:
    """As the projections of queries, keys and values, in one matrix, and a row of zeros behind."""
    steps = np.repeat([0.01, 0.3], ROWS // 2)[:, None]
    matrix = np.concatenate([integers * steps, np.zeros((1, COLUMNS))]).astype(np.float32)
    numbers, scales = quantize_rows(matrix)
    assert_array_equal(numbers[:-1:2], integers[::2])
    assert not numbers[-1].any()
    assert np.isfinite(scales).all()
