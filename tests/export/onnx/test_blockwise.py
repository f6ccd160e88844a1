"""Weights in blocks of small integers, against what they were made of."""

import numpy as np
import pytest

from heed.export.onnx.blockwise import block_size, pack_blocks, unpack_blocks
from heed.models.arrays import FloatArray

V = 7
ROWS = {300: [128, 128, 44], 384: [128] * 3, 512: [256] * 2}  # the blocks of rows; the last one may not be full


def unpacked(matrix: FloatArray, bits: int) -> FloatArray:
    """What becomes of a matrix; what fills its last blocks is 0."""
    rows = unpack_blocks(*pack_blocks(matrix, bits), bits)
    assert not rows[:, matrix.shape[1] :].any()
    return rows[:, : matrix.shape[1]]


def in_blocks(matrix: FloatArray) -> list[FloatArray]:
    return np.split(matrix, np.cumsum(ROWS[matrix.shape[1]])[:-1], axis=1)


@pytest.fixture(params=ROWS)
def matrix(request: pytest.FixtureRequest) -> FloatArray:
    return np.random.default_rng(5).standard_normal((V, request.param), dtype=np.float32)


def test_eight_bits_are_off_by_half_a_step_at_most(matrix: FloatArray) -> None:
    for found, block in zip(in_blocks(unpacked(matrix, 8)), in_blocks(matrix), strict=True):
        half = np.abs(block).max(axis=1, keepdims=True) / 127 / 2
        assert (np.abs(found - block) <= half * (1 + 1e-5)).all()


def test_four_bits_lose_no_more_than_where_the_largest_weight_is_met_exactly(matrix: FloatArray) -> None:
    """As llama.cpp's Q4_0 rounds: the largest weight of a block at -8."""
    lost, exact = 0.0, 0.0
    for found, block in zip(in_blocks(unpacked(matrix, 4)), in_blocks(matrix), strict=True):
        largest = np.take_along_axis(block, np.abs(block).argmax(axis=1)[:, None], axis=1)
        steps = largest / -8
        errors = np.square(np.clip(np.rint(block / steps), -8, 7) * steps - block).sum(axis=1)
        assert (np.square(found - block).sum(axis=1) <= errors * (1 + 1e-5)).all()
        lost, exact = lost + float(np.square(found - block).sum()), exact + float(errors.sum())
    assert lost < 0.95 * exact


@pytest.mark.parametrize("columns", ROWS)
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_on_the_grid_stay_as_they_are(bits: int, columns: int) -> None:
    """Zeros among them, and a block of nothing else."""
    reach = 1 << (bits - 1)
    integers = np.random.default_rng(6).integers(1 - reach, reach, (V, columns))
    matrix = (integers / 64).astype(np.float32)
    matrix[:, :: block_size(columns)] = (1 - reach if bits == 8 else -reach) / 64
    matrix[0, : block_size(columns)] = 0
    assert np.abs(unpacked(matrix, bits) - matrix).max() < 1e-6
