"""Sources of pairs: two files, or one with both sides, with a weight."""

import csv
import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.transformer.data.text.jsonl import texts
from heed.transformer.data.text.lines import OnBad, lines, plain_suffix, refuse

Pair = tuple[str, str]  # a sentence and its translation
# Files that hold them, and where both sides stand unless a run says otherwise.
BOTH_SIDES = {".tsv": ("1", "2"), ".csv": ("1", "2"), ".jsonl": ("src", "tgt")}


@dataclasses.dataclass(frozen=True)
class Source:
    """Pairs on disk, read as a stream."""

    paths: tuple[str, ...]  # one file with both sides, or a source and a target file
    weight: float = 1.0  # how often an epoch uses each pair, on average
    src_field: str | None = None  # the source's column or field in a file of both sides; None: see `BOTH_SIDES`
    tgt_field: str | None = None
    skip_bad: bool = False  # whether bad lines of a file of both sides are passed over

    @property
    def name(self) -> str:
        """Its name in error messages."""
        return self.paths[0]

    @property
    def form(self) -> str:
        """The format of the files: "lines", or one of `BOTH_SIDES`."""
        return "lines" if len(self.paths) == 2 else plain_suffix(self.name)

    @property
    def reading(self) -> list[str | None]:
        """What its pairs depend on besides the content of the files."""
        return [self.form, self.src_field, self.tgt_field, *(["skip_bad"] if self.skip_bad else [])]

    def __iter__(self) -> Iterator[Pair]:
        """The pairs, one after another; see `pairs`."""
        return self.pairs(Counter())

    def pairs(self, counts: Counter[str]) -> Iterator[Pair]:
        """The pairs, one after another; lines that are passed over are counted as "bad".

        Raises:
            DataError: The files do not match, or a line is bad and may not be passed over.
            OSError: A file cannot be read.
        """
        if self.form == "lines":
            return _side_by_side(*self.paths)
        on_bad: OnBad = (lambda _: counts.update(["bad"])) if self.skip_bad else refuse
        src, tgt = BOTH_SIDES[self.form]
        fields = self.src_field or src, self.tgt_field or tgt
        found = _objects if self.form == ".jsonl" else _cells
        return found(self.name, fields, on_bad)


def parse_source(
    written: str, src_field: str | None = None, tgt_field: str | None = None, *, skip_bad: bool = False
) -> Source:
    """The pairs that `--data` names: `FILE.tsv`, `.csv` or `.jsonl`, or `SOURCE,TARGET`; `:WEIGHT` where it is not 1.

    Args:
        written: What was given.
        src_field: Where the source stands in a file of both sides; None: as `BOTH_SIDES` says.
        tgt_field: Where the target stands.
        skip_bad: Whether bad lines of such a file are passed over.

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
        suffixes = ", ".join(BOTH_SIDES)
        raise DataError(f"{written}: one file has both sides only as {suffixes}; give SOURCE,TARGET, or rename it")
    if len(paths) == 2:
        return Source(paths, float(weight))
    named = [field for field in (src_field, tgt_field) if field and not _is_column(field)]
    if named and plain_suffix(names) == ".tsv":
        raise DataError(f"{written}: a column of a .tsv is a number, counted from 1, not {named[0]!r}")
    return Source(paths, float(weight), src_field, tgt_field, skip_bad)


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


def _is_column(field: str) -> bool:
    return field.isdecimal() and int(field) > 0


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


def _cells(path: str, fields: tuple[str, str], on_bad: OnBad) -> Iterator[Pair]:
    """Two columns: of a .csv by number, or by their names in its first row."""
    every = lines(Path(path), on_bad)
    rows = _rows_of_csv(path, every, on_bad) if plain_suffix(path) == ".csv" else (line.split("\t") for line in every)
    places = tuple(int(field) - 1 for field in fields) if all(map(_is_column, fields)) else None
    for number, row in enumerate(rows, 1):
        if places is None:
            if missing := [field for field in fields if field not in row]:
                raise DataError(f"{path}: no column {missing[0]!r}; the first row has {', '.join(map(repr, row))}")
            places = tuple(map(row.index, fields))
        elif max(places) < len(row):
            src, tgt = (row[place] for place in places)
            yield src, tgt
        elif row:
            on_bad(DataError(_too_short(path, number, row, max(places) + 1)))


def _rows_of_csv(path: str, every: Iterable[str], on_bad: OnBad) -> Iterator[list[str]]:
    rows = csv.reader(line + "\n" for line in every)
    while True:
        begins = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:  # of a field that never ends, mostly
            on_bad(DataError(f"{path}: the row that begins in line {begins} is no CSV ({error}); close its quotes"))
        else:
            yield row


def _too_short(path: str, number: int, row: list[str], column: int) -> str:
    if plain_suffix(path) == ".tsv" and len(row) == 1:
        return f"{path}: line {number} has no tab; write the source, a tab and the target in each line"
    return f"{path}: row {number} has no column {column}, only {len(row)}; mend or delete it"


def _objects(path: str, fields: tuple[str, str], on_bad: OnBad) -> Iterator[Pair]:
    return ((src, tgt) for src, tgt in texts(path, fields, on_bad))
