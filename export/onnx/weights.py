"""The file of weights that a bundle's graphs share."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

ALIGNMENT = 64  # bytes; a cache line and the widest vector load
FILE_NAME = "weights.bin"


class Weights:
    """Arrays stored one after another in a file; graphs that name the same array share it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._stored: dict[str, ir.ExternalTensor] = {}

    def tensor(self, name: str, array: npt.NDArray[np.generic]) -> ir.ExternalTensor:
        """A graph's reference to an array in the file; a new array is added."""
        if name not in self._stored:
            data = np.ascontiguousarray(array).tobytes()
            self._parts += [bytes(-self._size % ALIGNMENT), data]
            offset = self._size + -self._size % ALIGNMENT
            self._size = offset + len(data)
            dtype = ir.DataType.from_numpy(array.dtype)
            self._stored[name] = ir.ExternalTensor(
                FILE_NAME,
                offset,
                len(data),
                dtype,
                name=name,
                shape=ir.Shape(array.shape),
                base_dir="",
            )
        return self._stored[name]

    def write(self, directory: Path) -> None:
        """Write the file."""
        with (directory / FILE_NAME).open("wb") as file:
            file.writelines(self._parts)
