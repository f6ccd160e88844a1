"""Finding duplicates among very many pairs, with hashes on disk and bounded memory."""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heed.transformer.data.reservoir import pair_fingerprint
from heed.transformer.data.text.sources import Source, every_pair

CHUNK = 1 << 20  # hashes compared together
BUCKET = 1 << 21  # approximate number of hashes sorted together,
N_BUCKETS = 256  # in at most as many files, which are open at the same time; then the buckets grow
HASH = np.dtype(np.uint64)
PLACED = np.dtype([("hash", HASH), ("place", np.int64)])  # a hash, and where it stands


def mark_duplicates(sources: Sequence[Source], directory: Path) -> Path:
    """Write a file with a byte for each pair: 1 if an equal pair precedes it, else 0.

    Raises:
        DataError: A file of the text cannot be used.
        OSError: A file cannot be read or written.
    """
    hashes, marks = directory / "hashes", directory / "marks"
    with hashes.open("wb") as file:
        for src, tgt in every_pair(sources):
            file.write(pair_fingerprint(src, tgt).to_bytes(HASH.itemsize, "little"))
    mark_equal(hashes, marks)
    return marks


def mark_equal(hashes: Path, marks: Path) -> None:
    """Write such a byte for each hash of a file; hashes with the same remainder are sorted together."""
    n_hashes = hashes.stat().st_size // HASH.itemsize
    marked = np.memmap(marks, np.uint8, "w+", shape=(n_hashes,))
    with tempfile.TemporaryDirectory(dir=marks.parent) as aside:
        for bucket in _distribute(hashes, Path(aside), min(n_hashes // BUCKET + 1, N_BUCKETS)):
            placed = np.fromfile(bucket, PLACED)
            placed = placed[np.argsort(placed["hash"], kind="stable")]
            again = placed["hash"][1:] == placed["hash"][:-1]
            marked[placed["place"][1:][again]] = 1
    marked.flush()


def _distribute(hashes: Path, directory: Path, n_buckets: int) -> list[Path]:
    """Write each hash, in one pass, into the file of its remainder."""
    paths = [directory / str(number) for number in range(n_buckets)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        source, start = stack.enter_context(hashes.open("rb")), 0
        while data := source.read(CHUNK * HASH.itemsize):
            placed = np.empty(len(data) // HASH.itemsize, PLACED)
            placed["hash"] = np.frombuffer(data, HASH)
            placed["place"] = np.arange(start, start + len(placed))
            buckets = (placed["hash"] % n_buckets).astype(np.uint8)
            order = np.argsort(buckets, kind="stable")
            ends = np.cumsum(np.bincount(buckets, minlength=n_buckets))
            for file, part in zip(files, np.split(placed[order], ends[:-1]), strict=True):
                file.write(part.tobytes())
            start += len(placed)
    return paths
