"""Marian's binary shortlists: the translations of each source token (marian-dev, src/data/shortlist.cpp)."""

import struct
from pathlib import Path

import numpy as np

from heed.models.errors import ModelError
from heed.transformer.data.shortlist import Shortlist

MAGIC = 0xF11A48D5013417F5
HEADER = struct.Struct("<6Q")  # magic, checksum, common tokens, longest list, number of offsets, number of entries
HASHED = 16  # bytes before what the checksum is of
FILLING = 7  # tokens after the common ones, at most, by which Marian makes a sentence's list a multiple of 8 long
LONGEST = 1000  # translations of a token; the lists become a table


def read(path: Path, sizes: tuple[int, int], eos_id: int, *, joint: bool) -> Shortlist:
    """The shortlist of a file.

    Args:
        path: The file.
        sizes: Of the source vocabulary, of which the file may know fewer tokens, and of the target vocabulary.
        eos_id: The target's end token, which every sentence needs.
        joint: Whether both sides share a vocabulary; a source token can then be copied.

    Raises:
        ModelError: It is damaged, or made for another vocabulary.
    """
    data = path.read_bytes()
    if len(data) < HEADER.size:
        raise _damaged(path, "it is cut off")
    magic, checksum, n_common, _, n_offsets, n_entries = HEADER.unpack_from(data)
    if magic != MAGIC or len(data) != HEADER.size + 8 * n_offsets + 4 * n_entries:
        raise _damaged(path, "its size is not what its header says")
    if checksum != _checksum(data):
        raise _damaged(path, "its checksum is another")
    offsets = np.frombuffer(data, "<u8", n_offsets, HEADER.size).astype(np.int64)
    entries = np.frombuffer(data, "<u4", n_entries, HEADER.size + 8 * n_offsets)
    lengths = np.diff(offsets)
    if offsets[:1].tolist() != [0] or offsets[-1] != n_entries or lengths.min(initial=0) < 0:
        raise _damaged(path, "its lists are not one after another")
    if lengths.max(initial=0) > LONGEST:
        raise _damaged(path, f"a token has more than {LONGEST:,} translations")
    src_size, tgt_size = sizes
    if len(lengths) > src_size or n_common > tgt_size or entries.max(initial=0) >= tgt_size:
        raise ModelError(f"{path}: it is of another vocabulary than the model; get the whole model again")
    common = range(min(n_common + FILLING, tgt_size))
    always = np.array([eos_id, *(token for token in common if token != eos_id)], dtype=np.int32)
    likely = np.full((src_size, lengths.max(initial=0) + 1), eos_id, dtype=np.int32)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    likely[rows, np.arange(n_entries) - offsets[rows]] = entries
    if joint:
        likely[: len(lengths), -1] = np.arange(len(lengths))
    return Shortlist(likely, always)


def _checksum(data: bytes) -> int:
    """Boost's hash of numbers of 64 bits, one after another."""
    found, mask = 0, (1 << 64) - 1
    for (number,) in struct.iter_unpack("<Q", data[HASHED : len(data) - len(data) % 8]):
        found ^= (number + 0x9E3779B9 + (found << 6) + (found >> 2)) & mask
    return found


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: no whole binary shortlist of Marian ({why}); get it again")
