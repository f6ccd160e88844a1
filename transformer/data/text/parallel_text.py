"""Parallel text in memory, and its conversion to pairs of token ids."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.models.tokenizers.protocol import LineTokenizer
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.text.lines import read_lines
from heed.transformer.data.text.sources import Pair, Source, match_files

VALIDATION = "valid.jsonl"
LINE_BY_LINE = ("valid.src", "valid.tgt")  # in runs of 0.1, whose pairs had no line ends


@dataclasses.dataclass(frozen=True)
class ParallelText:
    """Sentences and their translations, line by line."""

    src: list[str]
    tgt: list[str]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "ParallelText":
        """Make it from pairs."""
        every = list(pairs)
        return cls([src for src, _ in every], [tgt for _, tgt in every])

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.src)


@dataclasses.dataclass(frozen=True)
class Filter:
    """The filter of training pairs."""

    max_length: int  # maximum number of tokens of the longer side
    max_ratio: float | None = None  # maximum ratio of the longer side to the shorter, in tokens; None: any

    def flaw(self, src: Sequence[int], tgt: Sequence[int]) -> str | None:
        """The reason to drop a pair, in a word."""
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
        """The pairs that pass: their indices, sources and targets; the reasons to drop the others are counted."""
        found = [self.flaw(*pair) for pair in zip(src, tgt, strict=True)]
        flaws.update(flaw for flaw in found if flaw)
        kept = [number for number, flaw in enumerate(found) if not flaw]
        return kept, [src[number] for number in kept], [tgt[number] for number in kept]


def read_pairs(src_paths: Sequence[str], tgt_paths: Sequence[str]) -> ParallelText:
    """Read text files that translate each other line by line; `.gz` and `.zst` are decompressed.

    Raises:
        DataError: The files do not match, contain no text, or are not UTF-8.
    """
    text = ParallelText.of(pair for source in match_files(src_paths, tgt_paths) for pair in source)
    if not len(text):
        raise DataError(f"{', '.join([*src_paths, *tgt_paths])}: no text; give files with one sentence per line")
    return text


def tokenize(
    text: ParallelText,
    src_tokenizer: LineTokenizer,
    tgt_tokenizer: LineTokenizer,
    *,
    max_length: int,
    flaws: Counter[str] | None = None,
) -> Pairs:
    """Turn pairs into token ids, dropping those with an empty side or more than `max_length` tokens on a side.

    Dropped pairs are counted in `flaws`, if given.
    """
    ids = src_tokenizer.encode(text.src), tgt_tokenizer.encode(text.tgt)
    _, src, tgt = Filter(max_length).select(*ids, Counter() if flaws is None else flaws)
    return Pairs.of(src, tgt)


def write_validation(directory: Path, text: ParallelText) -> None:
    """Write the validation text of a run."""
    pairs = zip(text.src, text.tgt, strict=True)
    lines = [json.dumps({"src": src, "tgt": tgt}, ensure_ascii=False) + "\n" for src, tgt in pairs]
    (directory / VALIDATION).write_bytes("".join(lines).encode("utf-8"))


def read_validation(directory: Path) -> ParallelText:
    """Read the validation text of a run.

    Raises:
        DataError: It is damaged.
        OSError: It cannot be read.
    """
    earlier = [directory / name for name in LINE_BY_LINE]
    if not (directory / VALIDATION).exists() and any(path.exists() for path in earlier):
        src, tgt = map(read_lines, earlier)
        return ParallelText(src, tgt)
    return ParallelText.of(Source((str(directory / VALIDATION),)))
