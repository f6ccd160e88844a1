"""CSV: rows of cells with quotes, of which one column is translated (RFC 4180).

The csv module of the standard library tells neither where a cell stands nor whether it had quotes, so what is not
translated would not pass byte for byte.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

from heed.cli.io.inputs import Window
from heed.cli.io.records import Decoder, Record, unchanged
from heed.models.errors import DataError
from heed.models.patterns import regex

SEPARATORS = (b",", b";", b"\t", b"|")
QUOTED = regex(rb'"(?:[^"]|"")*+"')
LARGEST = 1 << 20  # bytes of a row: a quote that nothing closes would take the rest of the file
Span = tuple[int, int]


class Table:
    """Reads row by row; the lines of a cell with quotes belong to one row.

    Args:
        decoder: For the column alone; the others may be anything.
        column: By its number, counted from 1, or by its name in the first row, which then passes as it is.
    """

    has_marks = False

    def __init__(self, decoder: Decoder, column: str) -> None:
        self._decoder, self._column = decoder, column
        self._place = int(column) - 1 if column.isdecimal() else None
        self._separator = b""

    def records(self, windows: Iterable[Window], _: int) -> Iterator[list[Record]]:
        """The records of rows that have arrived.

        Raises:
            DataError: What is wrong with a row, after those before it were given.
        """
        name, number, begun = "stdin", 1, b""
        for window in windows:
            found, name = list[Record](), window.name
            for number, line in enumerate(window.lines, start=window.number):
                begun += line
                try:
                    record = self._record(begun)
                except DataError as error:
                    yield found
                    raise DataError(f"{name}: line {number}: {error}") from None
                if record:
                    found.append(record)
                    begun = b""
            yield found
        if begun:
            raise DataError(f"{name}: line {number}: a quote that is not closed before the end; mend the file")

    def warnings(self) -> list[str]:
        """None."""
        return []

    def _record(self, row: bytes) -> Record | None:
        """The record of a row; None where it goes on in the next line."""
        mark = codecs.BOM_UTF8 if not self._separator and row.startswith(codecs.BOM_UTF8) else b""
        row = row.removeprefix(mark)
        content = row.rstrip(b"\r\n") if row.count(b"\n") <= 1 else row.removesuffix(b"\n").removesuffix(b"\r")
        separator = self._separator or _separator(content)
        cells = find_cells(content, separator)
        if cells is None:
            if len(row) > LARGEST:
                raise DataError("a quote that is not closed; mend the row")
            return None
        is_first, self._separator = not self._separator, separator
        if self._place is None and is_first:
            self._place = self._named([self._text(content[slice(*cell)]) for cell in cells])
            return unchanged(mark + row)
        assert self._place is not None
        if not content.strip():
            return unchanged(mark + row)
        if self._place >= len(cells):
            raise DataError(f"no column {self._place + 1}, only {len(cells)}; mend the row or choose another --column")
        start, end = cells[self._place]
        cell, text = content[start:end], self._text(content[start:end])

        def encode(translation: str) -> bytes:
            return cell if translation == text else _cell(translation, separator, quoted=cell.startswith(b'"'))

        return Record((text,), mark + row[:start], row[end:], encode)

    def _named(self, names: list[str]) -> int:
        if names.count(self._column) != 1:
            shown = ", ".join(map(repr, names))
            raise DataError(f"no column {self._column!r}, or several; the first row has {shown}")
        return names.index(self._column)

    def _text(self, cell: bytes) -> str:
        quoted = QUOTED.fullmatch(cell)
        return self._decoder.decode(cell[1:-1].replace(b'""', b'"') if quoted else cell)


def find_cells(row: bytes, separator: bytes) -> list[Span] | None:
    """Where the cells of a row are, with their quotes; None where the last has a quote that is not closed yet."""
    cells, start = list[Span](), 0
    while True:
        inner = start
        if row.startswith(b'"', start):
            quoted = QUOTED.match(row, start)
            if quoted is None:
                return None
            inner = quoted.end()
        end = row.find(separator, inner)
        if end < 0:
            return [*cells, (start, len(row))]
        cells.append((start, end))
        start = end + len(separator)


def _separator(row: bytes) -> bytes:
    """What parts the cells of the first row: of the usual ones, that which parts most."""
    return max(SEPARATORS, key=QUOTED.sub(b"", row).count)


def _cell(text: str, separator: bytes, *, quoted: bool) -> bytes:
    cell = text.encode()
    if quoted or separator in cell or re.search(rb'["\r\n]', cell):
        return b'"' + cell.replace(b'"', b'""') + b'"'
    return cell
