"""Sources of pairs: two files, or one with both sides, with a weight."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.transformer.data.jsonl import records, text_of
from heed.transformer.data.lines import lines, plain_suffix

Pair = tuple[str, str]  # a sentence and its translation
BOTH_SIDES = (".tsv", ".jsonl")  # files with both sides


@dataclasses.dataclass(frozen=True)
class Source:
    """Pairs on disk, read as a stream."""

    paths: tuple[str, ...]  # one file with both sides, or a source and a target file
    weight: float = 1.0  # how often an epoch uses each pair, on average

    @property
    def name(self) -> str:
        """Its name in error messages."""
        return self.paths[0]

    @property
    def form(self) -> str:
        """The format of the files: "lines", or one of `BOTH_SIDES`."""
        return "lines" if len(self.paths) == 2 else plain_suffix(self.name)

    def __iter__(self) -> Iterator[Pair]:
        """The pairs, one after another.

        Raises:
            DataError: The files do not match, or a line is bad.
            OSError: A file cannot be read.
        """
        if self.form == "lines":
            return _side_by_side(*self.paths)
        return _table(self.name) if self.form == ".tsv" else _objects(self.name)


def parse_source(written: str) -> Source:
    """Parse the value of `--data`: `FILE.tsv`, `FILE.jsonl` or `SOURCE,TARGET`, with an optional `:WEIGHT`.

    Raises:
        DataError: It has another form.
    """
    names, separator, weight = written.rpartition(":")
    if not separator or Path(written).is_file() or not _is_number(weight):  # a name may contain a colon
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
    """The value of `--data` with absolute paths, so that a run can be resumed from another directory."""
    paths = ",".join(parse_source(written).paths)
    full = ",".join(str(Path(path).absolute()) for path in parse_source(written).paths)
    return full + written.removeprefix(paths)


def match_files(src_paths: Sequence[str], tgt_paths: Sequence[str]) -> list[Source]:
    """Match source files with target files.

    Raises:
        DataError: Their numbers differ.
    """
    if len(src_paths) != len(tgt_paths):
        raise DataError(
            f"{len(src_paths)} source and {len(tgt_paths)} target files; give as many --tgt as --src, in the same order"
        )
    return [Source(paths) for paths in zip(src_paths, tgt_paths, strict=True)]


def every_pair(sources: Sequence[Source]) -> Iterator[Pair]:
    """The pairs of all sources, in order."""
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
            f"{src_path} has {n_lines[0]} lines and {tgt_path} has {n_lines[1]}; they must correspond line by line"
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
