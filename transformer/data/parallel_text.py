"""Parallel text that fits into memory, and what turns text into pairs of token ids."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.lines import read_lines
from heed.transformer.data.sources import Pair, Source, match_files

VALIDATION = "valid.jsonl"
LINE_BY_LINE = ("valid.src", "valid.tgt")  # in runs of 0.1, whose pairs had no line ends


@dataclasses.dataclass(frozen=True)
class ParallelText:
    """Sentences and their translations, line by line."""

    src: list[str]
    tgt: list[str]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "ParallelText":
        """The text of pairs."""
        every = list(pairs)
        return cls([src for src, _ in every], [tgt for _, tgt in every])

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.src)


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which pairs of token lists are learnt from."""

    max_length: int  # tokens of the longer side
    max_ratio: float | None = None  # of the longer side to the shorter, in tokens; None: any

    def flaw(self, src: Sequence[int], tgt: Sequence[int]) -> str | None:
        """What is wrong with a pair, in a word."""
        shorter, longer = sorted((len(src), len(tgt)))
        if not shorter:
            return "empty"
        if longer > self.max_length:
            return "long"
        if self.max_ratio is not None and longer > self.max_ratio * shorter:
            return "unequal"
        return None

    def select(
        self, src: Sequence[list[int]], tgt: Sequence[list[int]], flaws: Counter[str]
    ) -> tuple[list[int], list[list[int]], list[list[int]]]:
        """The pairs without a flaw: their numbers, sources and targets; the flaws of the others are counted."""
        found = [self.flaw(*pair) for pair in zip(src, tgt, strict=True)]
        flaws.update(flaw for flaw in found if flaw)
        kept = [number for number, flaw in enumerate(found) if not flaw]
        return kept, [src[number] for number in kept], [tgt[number] for number in kept]


def read_pairs(src_paths: Sequence[str], tgt_paths: Sequence[str]) -> ParallelText:
    """Read text files that translate each other line by line; `.gz` and `.zst` are decompressed.

    Raises:
        DataError: The files do not match, hold no text, or are no UTF-8.
    """
    text = ParallelText.of(pair for source in match_files(src_paths, tgt_paths) for pair in source)
    if not len(text):
        raise DataError(f"{', '.join([*src_paths, *tgt_paths])}: no text in there; give files with a sentence a line")
    return text


def tokenize(
    text: ParallelText,
    src_tokenizer: Tokenizer,
    tgt_tokenizer: Tokenizer,
    *,
    max_length: int,
    flaws: Counter[str] | None = None,
) -> Pairs:
    """Turn pairs into token ids, leaving out those that are empty or above `max_length` tokens on a side.

    Where `flaws` are given, those that are left out are counted there.
    """
    ids = src_tokenizer.encode(text.src), tgt_tokenizer.encode(text.tgt)
    _, src, tgt = Filter(max_length).select(*ids, Counter() if flaws is None else flaws)
    return Pairs.of(src, tgt)


def write_validation(directory: Path, text: ParallelText) -> None:
    """Write the text that a run is judged by."""
    pairs = zip(text.src, text.tgt, strict=True)
    lines = [json.dumps({"src": src, "tgt": tgt}, ensure_ascii=False) + "\n" for src, tgt in pairs]
    (directory / VALIDATION).write_bytes("".join(lines).encode("utf-8"))


def read_validation(directory: Path) -> ParallelText:
    """Read it.

    Raises:
        DataError: It is damaged.
        OSError: It cannot be read.
    """
    earlier = [directory / name for name in LINE_BY_LINE]
    if not (directory / VALIDATION).exists() and any(path.exists() for path in earlier):
        src, tgt = map(read_lines, earlier)
        return ParallelText(src, tgt)
    return ParallelText.of(Source((str(directory / VALIDATION),)))
