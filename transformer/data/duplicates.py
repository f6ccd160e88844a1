"""Finding duplicates among very many pairs, with hashes on disk and bounded memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from heed.transformer.data.reservoir import fingerprint
from heed.transformer.data.sources import Source, every_pair

CHUNK = 1 << 20  # hashes compared together
BUCKET = 1 << 21  # approximate number of hashes sorted together
HASH = np.dtype(np.uint64)


def mark_duplicates(sources: Sequence[Source], directory: Path) -> Path:
    """Write a file with a byte for each pair: 1 if an equal pair precedes it, else 0.

    Raises:
        DataError: A file of the text cannot be used.
        OSError: A file cannot be read or written.
    """
    hashes, marks = directory / "hashes", directory / "marks"
    with hashes.open("wb") as file:
        for src, tgt in every_pair(sources):
            file.write(fingerprint(f"{src}\n{tgt}").to_bytes(HASH.itemsize, "little"))
    mark_equal(hashes, marks)
    return marks


def mark_equal(hashes: Path, marks: Path) -> None:
    """Write such a byte for each hash of a file; hashes with the same remainder are sorted together."""
    n_hashes = hashes.stat().st_size // HASH.itemsize
    n_buckets = n_hashes // BUCKET + 1
    marked = np.memmap(marks, np.uint8, "w+", shape=(n_hashes,))
    with hashes.open("rb") as file:
        for bucket in range(n_buckets):
            values, places = _bucket(file, n_buckets, bucket)
            order = np.argsort(values, kind="stable")
            again = np.zeros(len(values), dtype=bool)
            again[order[1:]] = values[order[1:]] == values[order[:-1]]
            marked[places[again]] = 1
    marked.flush()


def _bucket(file: BinaryIO, n_buckets: int, bucket: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The hashes of a bucket, and their positions."""
    values, places, start = [], [], 0
    file.seek(0)
    while data := file.read(CHUNK * HASH.itemsize):
        chunk = np.frombuffer(data, HASH)
        mine = np.flatnonzero(chunk % n_buckets == bucket)
        values.append(chunk[mine])
        places.append(mine + start)
        start += len(chunk)
    return np.concatenate(values), np.concatenate(places)
