"""Output of vectors: JSON lines, or a NumPy array that grows on disk."""

import json
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from heed.cli.io.streams import write
from heed.models.arrays import FloatArray


def json_line(text: str, vector: FloatArray) -> str:
    """The line of a text and its vector, (D,), with as many digits as tell float32 numbers apart."""
    numbers = ", ".join(np.format_float_positional(value, trim="0") for value in vector)
    return f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}\n'


class JsonLines:
    """Writes a JSON object for each text.

    Args:
        file: Where to; None: stdout.
    """

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file

    def add(self, texts: Sequence[str], vectors: FloatArray) -> None:
        """Write the vectors of texts, (N, D)."""
        for line in map(json_line, texts, vectors):
            if self._file is None:
                write(line)
            else:
                self._file.write(line.encode())

    def close(self) -> None:
        """Nothing follows the last line."""


class NumpyArray:
    """Writes an array of float32, (N, D), of which N is known at the end.

    Args:
        file: Seekable.
        d_model: Width of the vectors (D).
    """

    def __init__(self, file: BinaryIO, d_model: int) -> None:
        self._file, self._d_model, self._n = file, d_model, 0
        self._write_header()

    def add(self, texts: Sequence[str], vectors: FloatArray) -> None:
        """Write the vectors of texts, (N, D)."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self._n += len(texts)

    def close(self) -> None:
        """Write the number of vectors into the header, where NumPy leaves room for it to grow."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._n, self._d_model)}
        np.lib.format.write_array_header_1_0(self._file, header)
