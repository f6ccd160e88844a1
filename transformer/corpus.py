"""Parallel text: reading it, refusing what is broken, and turning it into token ids."""

import dataclasses
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heed.models.errors import DataError
from heed.models.tokenizer import Tokenizer

IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ParallelText:
    """Sentences and their translations, line by line."""

    src: list[str]
    tgt: list[str]

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.src)

    def hold_out(self, n_pairs: int, seed: int) -> tuple["ParallelText", "ParallelText"]:
        """Split off pairs for validation, drawn at random; no source sentence is on both sides.

        Returns:
            What is left, and what is held out.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        sources = {self.src[i] for i in order[:n_pairs]}
        held = sorted(order[:n_pairs])
        kept = [i for i in range(len(self)) if self.src[i] not in sources]
        return self._select(kept), self._select(held)

    def _select(self, indices: Sequence[int]) -> "ParallelText":
        return ParallelText([self.src[i] for i in indices], [self.tgt[i] for i in indices])


class TokenLists:
    """Lists of token ids in one array, so that millions of them cost no Python objects."""

    def __init__(self, lists: Sequence[Sequence[int]]) -> None:
        self.lengths = np.array([len(ids) for ids in lists], dtype=np.int64)
        self._ends = self.lengths.cumsum()
        self.ids = np.fromiter((i for ids in lists for i in ids), dtype=np.int32, count=int(self.lengths.sum()))

    def __len__(self) -> int:
        """The number of lists."""
        return len(self.lengths)

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        """One of the lists."""
        end = self._ends[index]
        return self.ids[end - self.lengths[index] : end]

    def padded(self, indices: IntArray, pad_id: int, *, first: int | None = None, last: int | None = None) -> IntArray:
        """Some of the lists as rows of one array, with a token before and after each, padded on the right."""
        extra = (first is not None) + (last is not None)
        rows = np.full((len(indices), int(self.lengths[indices].max()) + extra), pad_id, dtype=np.int64)
        start = 0 if first is None else 1
        if first is not None:
            rows[:, 0] = first
        for row, index in zip(rows, indices, strict=True):
            n_ids = self.lengths[index]
            row[start : start + n_ids] = self[index]
            if last is not None:
                row[start + n_ids] = last
        return rows


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Pairs as token ids, without special tokens, and how many pairs were left out of it."""

    src: TokenLists
    tgt: TokenLists
    n_empty: int  # pairs with nothing on one side or both
    n_long: int  # pairs with a side above the limit

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.src)


def read_pairs(src_paths: Sequence[str], tgt_paths: Sequence[str]) -> ParallelText:
    """Read text files that translate each other line by line; names in `.gz` are decompressed.

    Raises:
        DataError: The files do not match, hold no text, or are no UTF-8.
    """
    if len(src_paths) != len(tgt_paths):
        raise DataError(
            f"{len(src_paths)} source and {len(tgt_paths)} target files; give as many --tgt as --src, in the same order"
        )
    text = ParallelText([], [])
    for src_path, tgt_path in zip(src_paths, tgt_paths, strict=True):
        src, tgt = read_lines(Path(src_path)), read_lines(Path(tgt_path))
        if len(src) != len(tgt):
            raise DataError(
                f"{src_path} has {len(src)} lines and {tgt_path} has {len(tgt)}; "
                f"line by line one must translate the other"
            )
        text.src.extend(src)
        text.tgt.extend(tgt)
    if not len(text):
        raise DataError(f"{', '.join([*src_paths, *tgt_paths])}: no text in there; give files with a sentence a line")
    return text


def read_lines(path: Path) -> list[str]:
    r"""The lines of a text file, split on \n alone (str.splitlines would also cut at U+2028 and others).

    Raises:
        DataError: A line is no UTF-8, or a `.gz` file is damaged.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: not a whole gzip file ({error}); make or copy it again") from None
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # the byte-order mark of other systems is no text
    if lines[-1] == b"":
        lines.pop()  # a last newline ends a line, and begins none
    return [_decode(line.removesuffix(b"\r"), path, number) for number, line in enumerate(lines, 1)]


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: line {number} is not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); "
            f"convert the file with iconv, or mend the line"
        ) from None


def tokenize(text: ParallelText, src_tokenizer: Tokenizer, tgt_tokenizer: Tokenizer, *, max_length: int) -> Corpus:
    """Turn pairs into token ids, leaving out those that are empty or above `max_length` tokens on a side."""
    src, tgt = src_tokenizer.encode(text.src), tgt_tokenizer.encode(text.tgt)
    full = [(s, t) for s, t in zip(src, tgt, strict=True) if s and t]
    kept = [(s, t) for s, t in full if max(len(s), len(t)) <= max_length]
    return Corpus(
        TokenLists([s for s, _ in kept]),
        TokenLists([t for _, t in kept]),
        n_empty=len(text) - len(full),
        n_long=len(full) - len(kept),
    )
