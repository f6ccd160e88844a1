"""Pairs of token lists, in memory or on disk."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from heed.models.system.files import sync

IntArray = npt.NDArray[np.int64]
AnyIntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
BOUND = np.dtype(np.int64)


class TokenLists:
    """Lists of token ids in one array, so that millions of them need no Python objects."""

    def __init__(self, ids: AnyIntArray, starts: IntArray, stops: IntArray) -> None:
        self._ids, self._starts, self.lengths = ids, starts, stops - starts

    def __len__(self) -> int:
        """The number of lists."""
        return len(self.lengths)

    def __getitem__(self, index: int) -> AnyIntArray:
        """One of the lists."""
        return self._ids[self._starts[index] : self._starts[index] + self.lengths[index]]

    def padded(self, indices: IntArray, pad_id: int, *, first: int | None = None, last: int | None = None) -> IntArray:
        """Some lists as a right-padded array, with an additional token before and after each."""
        begin = 0 if first is None else 1
        ends = self.lengths[indices] + begin
        rows = np.full((len(indices), int(ends.max()) + (last is not None)), pad_id, dtype=np.int64)
        column = np.arange(rows.shape[1])
        filled = (column >= begin) & (column < ends[:, None])
        place = self._starts[indices][:, None] + (column - begin)
        rows[filled] = self._ids[place[filled]]
        if first is not None:
            rows[:, 0] = first
        if last is not None:
            rows[np.arange(len(rows)), ends] = last
        return rows


class Pairs:
    """Source and target lists in memory, adjacent for each pair.

    Args:
        ids: All tokens: a source, its target, the next source, and so on.
        bounds: The start of each list, and the end of the last, (2n + 1,).
    """

    def __init__(self, ids: AnyIntArray, bounds: IntArray) -> None:
        self.ids, self.bounds = ids, bounds
        self.src = TokenLists(ids, bounds[:-1:2], bounds[1::2])
        self.tgt = TokenLists(ids, bounds[1::2], bounds[2::2])

    @classmethod
    def of(cls, src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]]) -> Self:
        """Make pairs from lists."""
        ids, lengths = _joined(src, tgt, np.dtype(np.int32))
        return cls(ids, np.concatenate([[0], lengths.cumsum()]))

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.bounds) // 2

    def bounds_of(self, start: int, stop: int) -> IntArray:
        """The bounds of the lists of some pairs, (2 (stop - start) + 1,)."""
        return self.bounds[2 * start : 2 * stop + 1]

    def ids_of(self, start: int, stop: int) -> AnyIntArray:
        """A range of the tokens."""
        return self.ids[start:stop]


class AnyPairs(Protocol):
    """Pairs in memory or on disk."""

    def __len__(self) -> int: ...

    def bounds_of(self, start: int, stop: int) -> IntArray:
        """See `Pairs`."""
        ...

    def ids_of(self, start: int, stop: int) -> AnyIntArray:
        """See `Pairs`."""
        ...


class StoredPairs:
    """Pairs on disk, loaded into memory on demand.

    They are read, not mapped: reading is as fast, and mapped pages would count as memory until they are released.

    Args:
        stem: Common beginning of the names of both files.
        dtype: Type of a token.

    Raises:
        OSError: A file cannot be read.
    """

    def __init__(self, stem: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._ids, self._bounds = _files(stem)
        self._n_pairs = self._bounds.stat().st_size // BOUND.itemsize // 2

    def __len__(self) -> int:
        """The number of pairs."""
        return self._n_pairs

    def bounds_of(self, start: int, stop: int) -> IntArray:
        """See `Pairs`."""
        return _read(self._bounds, BOUND, 2 * start, 2 * stop + 1)

    def ids_of(self, start: int, stop: int) -> AnyIntArray:
        """See `Pairs`."""
        return _read(self._ids, self._dtype, start, stop)


class PairWriter:
    """Writes pairs for `StoredPairs`."""

    def __init__(self, stem: Path, dtype: np.dtype[Any]) -> None:
        self._dtype, self._end = dtype, 0
        self._paths = _files(stem)
        self._ids, self._bounds = (path.open("wb") for path in self._paths)
        self._bounds.write(np.zeros(1, dtype=BOUND).tobytes())

    def add(self, src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]]) -> None:
        """Append pairs."""
        ids, lengths = _joined(src, tgt, self._dtype)
        self._write(ids.tobytes(), lengths)

    def add_texts(self, src: Sequence[str], tgt: Sequence[str]) -> None:
        """Append texts, with their bytes as tokens."""
        texts = [text.encode("utf-8") for pair in zip(src, tgt, strict=True) for text in pair]
        self._write(b"".join(texts), np.array([len(text) for text in texts], dtype=BOUND))

    def _write(self, ids: bytes, lengths: IntArray) -> None:
        self._ids.write(ids)
        bounds = self._end + lengths.cumsum()
        self._bounds.write(bounds.tobytes())
        self._end = int(bounds[-1]) if len(bounds) else self._end

    def __enter__(self) -> "PairWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ids.close()
        self._bounds.close()
        if error is None:
            for path in self._paths:
                sync(path)


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(f"{stem.name}.ids"), stem.with_name(f"{stem.name}.bounds")


def _joined(
    src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]], dtype: np.dtype[Any]
) -> tuple[AnyIntArray, IntArray]:
    """The adjacent tokens of pairs, and the lengths of their lists."""
    both: list[Iterable[int]] = [side for pair in zip(src, tgt, strict=True) for side in pair]
    lengths = np.fromiter((len(side) for pair in zip(src, tgt, strict=True) for side in pair), dtype=BOUND)
    return np.fromiter(itertools.chain.from_iterable(both), dtype=dtype, count=int(lengths.sum())), lengths


def _read(path: Path, dtype: np.dtype[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """A range of the numbers in a file."""
    found = np.fromfile(path, dtype, count=stop - start, offset=start * dtype.itemsize)
    assert len(found) == stop - start, f"{path} has no numbers from {start + len(found)} to {stop}"
    return found
