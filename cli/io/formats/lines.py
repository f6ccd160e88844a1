"""Formats whose records are lines: plain text, TSV, JSON Lines."""

from collections.abc import Callable, Iterable, Iterator

from heed.cli.io.inputs import Window
from heed.cli.io.records import Record, join_paragraphs, unchanged
from heed.cli.messages import passed_over
from heed.models.errors import DataError


class Lines:
    """Reads line by line.

    Args:
        parse: Makes the record of a line.
        document: Join the lines of a paragraph.
        skip_bad: Pass over lines that cannot be used, which come out as they are, and count them.
    """

    has_marks = False

    def __init__(self, parse: Callable[[bytes], Record], *, document: bool = False, skip_bad: bool = False) -> None:
        self._parse, self._document, self._skip_bad = parse, document, skip_bad
        self._n_bad = 0

    def records(self, windows: Iterable[Window], _: int) -> Iterator[list[Record]]:
        """The records of lines that have arrived.

        Raises:
            DataError: What is wrong with a line, after those before it were given.
        """
        parse = self._lenient if self._skip_bad else self._parse
        found = (records for window in windows for records in window.records(parse))
        return join_paragraphs(found) if self._document else found

    def warnings(self) -> list[str]:
        """How many lines were passed over."""
        if not self._n_bad:
            return []
        how = "it comes out as it is" if self._n_bad == 1 else "they come out as they are"
        return [f"{passed_over(self._n_bad)}; {how}"]

    def _lenient(self, line: bytes) -> Record:
        try:
            return self._parse(line)
        except DataError:
            self._n_bad += 1
            return unchanged(line)
