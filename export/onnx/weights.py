"""The file of weights that a bundle's graphs share."""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

ALIGNMENT = 64  # bytes; a cache line and the widest vector load
FILE_NAME = "weights.bin"


class Weights:
    """Arrays stored one after another in a file; graphs that name the same array share it.

    Args:
        file: The file, which takes each array as soon as it is known.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, 0
        self._stored: dict[str, ir.ExternalTensor] = {}

    def tensor(self, name: str, array: npt.NDArray[np.generic]) -> ir.ExternalTensor:
        """A graph's reference to an array in the file; a new array is added."""
        if name not in self._stored:
            offset = self._size + -self._size % ALIGNMENT
            self._file.write(bytes(offset - self._size))
            self._file.write(np.ascontiguousarray(array).data)
            self._size = offset + array.nbytes
            dtype = ir.DataType.from_numpy(array.dtype)
            self._stored[name] = ir.ExternalTensor(
                FILE_NAME,
                offset,
                array.nbytes,
                dtype,
                name=name,
                shape=ir.Shape(array.shape),
                base_dir="",
            )
        return self._stored[name]

    def find(self, name: str) -> ir.ExternalTensor | None:
        """A reference to an array that is in the file; None: it is not."""
        return self._stored.get(name)
