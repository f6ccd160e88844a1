"""Weights as 8-bit integers."""

import numpy as np
import numpy.typing as npt

from heed.models.search import FloatArray


def quantize_rows(matrix: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Round each row to -127…127 times a scale of its own, so that its largest weight is met exactly.

    Args:
        matrix: (V, D), a row for each output.

    Returns:
        Integers, (V, D), and scales, (V,); their product is the matrix, to half a scale.
    """
    largest = np.abs(matrix).max(axis=1)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales
