"""The weights of a bundle's graphs: a file that they share, and small ones in each of them."""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

ALIGNMENT = 64  # bytes; a cache line and the widest vector load
FILE_NAME = "weights.bin"
# Bytes of a vector that each graph has for itself: biases, scales, norms. ONNX Runtime resolves the path of the file,
# opens it and maps it anew for every array in it, and two thirds of the arrays are such vectors.
SMALL = 16 << 10


class Weights:
    """Arrays stored one after another in a file; graphs that name the same array share it, unless it is small.

    Args:
        file: The file, which takes each array as soon as it is known.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, 0
        self._stored: dict[str, ir.TensorProtocol] = {}

    def tensor(self, name: str, array: npt.NDArray[np.generic]) -> ir.TensorProtocol:
        """A graph's array, or its reference to one in the file; a new one is added."""
        if name not in self._stored:
            is_small = array.ndim < 2 and array.nbytes <= SMALL
            self._stored[name] = ir.tensor(array, name=name) if is_small else self._written(name, array)
        return self._stored[name]

    def find(self, name: str) -> ir.TensorProtocol | None:
        """An array, or a reference to one, that a graph has asked for; None: none has."""
        return self._stored.get(name)

    def _written(self, name: str, array: npt.NDArray[np.generic]) -> ir.ExternalTensor:
        offset = self._size + -self._size % ALIGNMENT
        self._file.write(bytes(offset - self._size))
        self._file.write(np.ascontiguousarray(array).data)
        self._size = offset + array.nbytes
        dtype = ir.DataType.from_numpy(array.dtype)
        return ir.ExternalTensor(
            FILE_NAME, offset, array.nbytes, dtype, name=name, shape=ir.Shape(array.shape), base_dir=""
        )
