"""Marian's binary models: headers, names and shapes of items, then their numbers.

The form is that of marian-dev, src/common/binary.cpp.
"""

import math
import mmap
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Shape, StoredTensor
from heed.models.arrays import FloatArray
from heed.models.errors import ModelError

VERSION = 1
CONFIG = "special:model.yml"  # the item that holds the configuration
LONGEST_CONFIG = 1 << 16  # bytes
DEEPEST = 8  # dimensions
MOST = 1 << 16  # items
FLOAT32, INT8, INTGEMM8 = 0x404, 0x101, 0x4101  # codes of types; those of one processor alone are others
HEADER = struct.Struct("<4Q")  # of an item: lengths of its name, type, number of dimensions, bytes
WORDS = {"true": True, "false": False, "[]": [], '""': "", "~": None, "null": None}


def begins(path: Path) -> int:
    """The first eight bytes of a file as a number: the version of a model, or the mark of another file."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


class MarianFile:
    """A binary model.

    A matrix has Marian's shape, (inputs, outputs), whichever way its numbers are stored.

    Args:
        path: The file.

    Raises:
        ModelError: It is none, of another version, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, StoredTensor] = {}
        self._config = b""
        with path.open("rb") as file:
            if path.stat().st_size < 2 * 8:
                raise self._damaged("it is cut off")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._walk()
        except (struct.error, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None

    def settings(self) -> Settings:
        """The configuration with which the model was trained, with no key read yet.

        Raises:
            ModelError: There is none, or it is no table.
        """
        if not self._config:
            raise self._damaged(f"it has no item {CONFIG}")
        return Settings(_table(self._config, f"{self.path}, {CONFIG}"), f"{self.path}, {CONFIG}")

    def _walk(self) -> None:
        """Go over all items; no count is trusted before the file is seen to hold as much."""
        version, n_items = struct.unpack_from("<2Q", self._data)
        if version != VERSION:
            raise self._damaged(f"version {version}, where {VERSION} is known")
        if n_items > MOST:
            raise self._damaged(f"{n_items:,} items")
        place = self._after(16, n_items * HEADER.size)
        headers = [HEADER.unpack_from(self._data, 16 + number * HEADER.size) for number in range(n_items)]
        names, shapes = list[str](), list[Shape]()
        for length, *_ in headers:
            begin, place = place, self._after(place, length)
            names.append(self._data[begin:place].removesuffix(b"\0").decode())
        for _, _, n_dimensions, _ in headers:
            if n_dimensions > DEEPEST:
                raise self._damaged(f"an item of {n_dimensions} dimensions")
            begin, place = place, self._after(place, 4 * n_dimensions)
            shapes.append(struct.unpack_from(f"<{n_dimensions}I", self._data, begin))
        (padding,) = struct.unpack_from("<Q", self._data, place)
        place = self._after(self._after(place, 8), padding)
        for name, shape, (_, kind, _, size) in zip(names, shapes, headers, strict=True):
            begin, place = place, self._after(place, size)
            self._add(name, shape, kind, begin, size)
        if place != len(self._data):
            raise self._damaged("it goes on behind its last item")

    def _add(self, name: str, shape: Shape, kind: int, begin: int, size: int) -> None:
        if name in self.tensors or (name == CONFIG and self._config):
            raise self._damaged(f"it has {name!r} twice")
        if name == CONFIG and kind == INT8:
            if size > LONGEST_CONFIG:
                raise self._damaged(f"a configuration of {size:,} bytes")
            self._config = self._data[begin : begin + size].rstrip(b"\0")
            return
        if kind not in READERS:
            raise ModelError(
                f"{self.path}: {name} is of the type {kind:#x}, and heed reads float32 and intgemm8 for every "
                "processor; get the model in one of these"
            )
        read, n_bytes = READERS[kind]
        if n_bytes(math.prod(shape)) > size or not shape:
            raise self._damaged(f"{name} of the shape {shape} has {size:,} bytes")
        self.tensors[name] = StoredTensor(shape, partial(read, self._data, begin, shape, name))

    def _after(self, place: int, n: int) -> int:
        """Where `n` bytes end that begin at a place."""
        if n > len(self._data) - place:
            raise self._damaged("it is cut off")
        return place + n

    def _damaged(self, why: str) -> ModelError:
        return ModelError(f"{self.path}: no whole binary model of Marian ({why}); get it again")


def _floats(data: mmap.mmap, begin: int, shape: Shape, name: str) -> FloatArray:  # noqa: ARG001 - one way for all
    return np.frombuffer(data, "<f4", math.prod(shape), begin).reshape(shape)


def _integers(data: mmap.mmap, begin: int, shape: Shape, name: str) -> FloatArray:
    """Integers over the multiplier that follows them; matrices are transposed, and embeddings are not."""
    n = math.prod(shape)
    integers = np.frombuffer(data, np.int8, n, begin)
    (multiplier,) = np.frombuffer(data, "<f4", 1, begin + n)
    stored = integers.reshape(shape) if "Wemb" in name else integers.reshape(shape[::-1]).T
    with np.errstate(divide="ignore", invalid="ignore"):  # of a crafted multiplier; NaN is refused later
        return stored.astype(np.float32) / np.float32(multiplier)


# What reads the numbers of a type, and how many bytes so many numbers have.
Read = Callable[[mmap.mmap, int, Shape, str], FloatArray]
READERS: dict[int, tuple[Read, Callable[[int], int]]] = {
    FLOAT32: (_floats, lambda n: 4 * n),
    INTGEMM8: (_integers, lambda n: n + 4),
}


def _table(text: bytes, where: str) -> dict[str, object]:
    """The table that Marian writes in YAML: a key a line, with a word, a number, or lines of a list.

    Raises:
        ModelError: It is more than that.
    """
    found: dict[str, object] = {}
    listed: list[object] = []
    for line in text.decode("utf-8", "replace").splitlines():
        if key := re.fullmatch(r"([\w-]+):(?: +(.*?))? *", line):
            if key[1] in found:
                raise ModelError(f"{where}: {key[1]!r} stands there twice; get the model again")
            listed = []
            found[key[1]] = _value(key[2]) if key[2] else listed
        elif found and (item := re.fullmatch(r" *- +(.+?) *", line)) and list(found.values())[-1] is listed:
            listed.append(_value(item[1]))
        elif line.strip():
            raise ModelError(f"{where}: heed cannot read the line {line!r}; get the model again")
    return found


def _value(text: str) -> object:
    if text in WORDS:
        return WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
