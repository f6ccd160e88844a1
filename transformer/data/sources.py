"""Where pairs come from: two files, or one with both sides, each with a weight."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.transformer.data.jsonl import records, text_of
from heed.transformer.data.lines import lines, plain_suffix

Pair = tuple[str, str]  # a sentence and its translation
BOTH_SIDES = (".tsv", ".jsonl")  # files that hold them


@dataclasses.dataclass(frozen=True)
class Source:
    """Pairs on disk, which are read as a stream."""

    paths: tuple[str, ...]  # a file of both sides, or a source and a target file
    weight: float = 1.0  # how often an epoch has each pair, on average

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.paths[0]

    @property
    def form(self) -> str:
        """How the files are to be read: "lines", or one of `BOTH_SIDES`."""
        return "lines" if len(self.paths) == 2 else plain_suffix(self.name)

    def __iter__(self) -> Iterator[Pair]:
        """The pairs, one after another.

        Raises:
            DataError: The files do not match, or have a line that cannot be used.
            OSError: A file cannot be read.
        """
        if self.form == "lines":
            return _side_by_side(*self.paths)
        return _table(self.name) if self.form == ".tsv" else _objects(self.name)


def parse_source(written: str) -> Source:
    """The pairs that `--data` names: `FILE.tsv`, `FILE.jsonl` or `SOURCE,TARGET`, and `:WEIGHT` where it is not 1.

    Raises:
        DataError: It is none of these.
    """
    names, separator, weight = written.rpartition(":")
    if not separator or Path(written).is_file() or not _is_number(weight):  # a colon may stand in a name
        names, weight = written, "1"
    if not 0 < float(weight) < math.inf:
        raise DataError(f"{written}: the weight must be a number above 0, not {weight}; give another")
    paths = (names,) if Path(names).is_file() else tuple(names.split(","))
    if len(paths) > 2 or not all(paths):
        raise DataError(f"{written}: more than two files; give SOURCE,TARGET, or one --data for each two")
    if len(paths) == 1 and plain_suffix(names) not in BOTH_SIDES:
        raise DataError(f"{written}: one file has both sides only as .tsv or .jsonl; give SOURCE,TARGET, or rename it")
    return Source(paths, float(weight))


def absolute_source(written: str) -> str:
    """The same as `--data` was given, with full names of files, for a run that goes on from another directory."""
    paths = ",".join(parse_source(written).paths)
    full = ",".join(str(Path(path).absolute()) for path in parse_source(written).paths)
    return full + written.removeprefix(paths)


def match_files(src_paths: Sequence[str], tgt_paths: Sequence[str]) -> list[Source]:
    """Files of sentences, each with that of their translations.

    Raises:
        DataError: There are more of the one than of the other.
    """
    if len(src_paths) != len(tgt_paths):
        raise DataError(
            f"{len(src_paths)} source and {len(tgt_paths)} target files; give as many --tgt as --src, in the same order"
        )
    return [Source(paths) for paths in zip(src_paths, tgt_paths, strict=True)]


def every_pair(sources: Sequence[Source]) -> Iterator[Pair]:
    """The pairs of all sources, one after another."""
    return (pair for source in sources for pair in source)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _side_by_side(src_path: str, tgt_path: str) -> Iterator[Pair]:
    sides, n_lines = (lines(Path(src_path)), lines(Path(tgt_path))), [0, 0]
    for src, tgt in itertools.zip_longest(*sides):
        n_lines[0] += src is not None
        n_lines[1] += tgt is not None
        if src is not None and tgt is not None:
            yield src, tgt
    if n_lines[0] != n_lines[1]:
        raise DataError(
            f"{src_path} has {n_lines[0]} lines and {tgt_path} has {n_lines[1]}; "
            f"line by line one must translate the other"
        )


def _table(path: str) -> Iterator[Pair]:
    """The first two columns."""
    for number, line in enumerate(lines(Path(path)), 1):
        src, tab, rest = line.partition("\t")
        if not tab:
            raise DataError(f"{path}: line {number} has no tab; write the source, a tab and the target in each line")
        yield src, rest.partition("\t")[0]


def _objects(path: str) -> Iterator[Pair]:
    for where, record in records(path):
        yield text_of(record, "src", where), text_of(record, "tgt", where)
