"""The lists at the beginning of a GGUF file are as long as they say: what reads them later trusts that."""

import mmap
import struct
from pathlib import Path

from heed.models.errors import ModelError

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a number, by its type
STRING, ARRAY = 8, 9
DEEPEST = 4  # arrays in arrays, and dimensions of a tensor


def check(path: Path) -> None:
    """Refuse a file that ends within its header.

    Raises:
        ModelError: It does, or it is no GGUF file.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise ModelError(f"{path}: the file is empty; get it again") from None
        with data:
            try:
                _Header(data).walk()
            except (ValueError, struct.error) as error:
                raise ModelError(f"{path}: no whole GGUF file ({error}); get it again") from None


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._place = data, 4

    def walk(self) -> None:
        """Go over all metadata and the descriptions of all tensors."""
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin as one")
        version, n_tensors, n_pairs = self._number("<I"), self._number("<Q"), self._number("<Q")
        if version not in (2, 3):
            raise ValueError(f"version {version}, where 2 and 3 are known")
        for _ in range(n_pairs):
            self._string()
            self._value(self._number("<I"), DEEPEST)
        for _ in range(n_tensors):
            self._string()
            n_dimensions = self._number("<I")
            if n_dimensions > DEEPEST:
                raise ValueError(f"a tensor of {n_dimensions} dimensions")
            self._skip(8 * n_dimensions + 12)  # sizes, type and offset

    def _value(self, kind: int, depth: int) -> None:
        if kind in SIZES:
            self._skip(SIZES[kind])
        elif kind == STRING:
            self._string()
        elif kind == ARRAY and depth:
            self._array(depth)
        else:
            raise ValueError(f"a value of the type {kind}")

    def _array(self, depth: int) -> None:
        kind, length = self._number("<I"), self._number("<Q")
        if kind in SIZES:
            self._skip(length * SIZES[kind])
            return
        for _ in range(length):
            self._value(kind, depth - 1)

    def _string(self) -> None:
        self._skip(self._number("<Q"))

    def _number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._place)
        self._place += struct.calcsize(form)
        return int(value)

    def _skip(self, n: int) -> None:
        if n > len(self._data) - self._place:
            raise ValueError("it is cut off")
        self._place += n
