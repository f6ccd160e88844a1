"""Records: what of a line is translated, and what passes as it is."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator

from heed.models.errors import DataError

JSON_SPACE = re.compile(r"[ \t\n\r]*")
SURROGATE = re.compile(r"[\ud800-\udfff]")
# Numbers stay text, for of the other fields nothing is needed: there are no limits to them then.
JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


@dataclasses.dataclass(frozen=True)
class Record:
    """A line, or a paragraph."""

    words: str  # what is translated
    before: bytes  # what stands around it
    after: bytes  # with the line's ending
    encode: Callable[[str], bytes]  # a translation as it stands there
    inside: str = ""  # what mark-up the line before has left open; see `heed.models.text.tags.scan`

    def filled(self, text: str) -> bytes:
        """The line with a translation in the place of the words."""
        return self.before + self.encode(text) + self.after


class Decoder:
    """Turns bytes into text and counts what was no UTF-8.

    Args:
        strict: Refuse it.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.n_replaced = 0  # texts with something that had to be replaced
        self._strict = strict

    def decode(self, data: bytes) -> str:
        """The text.

        Raises:
            DataError: It is no UTF-8, and `strict` is set.
        """
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self._replaced()
            return data.decode("utf-8", "replace")

    def replace(self, text: str) -> str:
        """A text without lone surrogates, that stand for bytes or were written in JSON.

        Raises:
            DataError: As `decode`.
        """
        replaced = SURROGATE.sub("\ufffd", text)
        if replaced != text:
            self._replaced()
        return replaced

    def _replaced(self) -> None:
        if self._strict:
            raise DataError("no UTF-8; convert it, as with iconv, or leave out --strict")
        self.n_replaced += 1


class Plain:
    """All of a line is translated."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def parse(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            DataError: See `Decoder`.
        """
        words, ending = _cut_ending(line)
        return Record(self._decoder.decode(words), b"", ending, _one_line)


class Tsv:
    """A column is translated, of those between tabs.

    Args:
        decoder: For that column alone; the others may be anything.
        column: Counted from 1.
    """

    def __init__(self, decoder: Decoder, column: int) -> None:
        self._decoder, self._column = decoder, column

    def parse(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            DataError: There is no such column, or see `Decoder`.
        """
        line, ending = _cut_ending(line)
        columns = line.split(b"\t")
        if len(columns) < self._column and line.strip():
            raise DataError(f"no column {self._column}, only {len(columns)}; mend the line or choose another --column")
        place = min(self._column, len(columns)) - 1  # a blank line passes
        before, after = (
            b"".join(part) for part in (_with_tabs(columns[:place], 1), _with_tabs(columns[place + 1 :], 0))
        )
        return Record(self._decoder.decode(columns[place]), before, after + ending, _one_cell)


class Jsonl:
    """A field is translated, of an object a line.

    Args:
        decoder: For that field alone.
        field: Its name.
    """

    def __init__(self, decoder: Decoder, field: str) -> None:
        self._decoder, self._field = decoder, field

    def parse(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            DataError: It is no object with that field, or the field is no text, or see `Decoder`.
        """
        line, ending = _cut_ending(line)
        if not line.strip():
            return Record(line.decode("ascii"), b"", ending, str.encode)
        text = line.decode("utf-8", "surrogateescape")  # the other fields may be anything
        start, end = self._find(text)
        before, literal, after = (
            part.encode("utf-8", "surrogateescape") for part in (text[:start], text[start:end], text[end:])
        )
        words = JSON.decode(literal.decode("utf-8", "surrogateescape"))
        return Record(self._decoder.replace(words), before, after + ending, _json_text)

    def _find(self, text: str) -> tuple[int, int]:
        """Where the field's value stands."""
        try:
            record = JSON.decode(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"no JSON ({error}); mend the line") from None
        if not isinstance(record, dict) or self._field not in record:
            raise DataError(f"no object with a field {self._field!r}; mend the line or choose another --field")
        found = (0, 0)
        for key, start, end in _members(text):
            if key == self._field:
                found = start, end  # of a key that is there twice, the last counts
        if text[found[0]] != '"':
            raise DataError(f"a field {self._field!r} that is no text; mend the line or choose another --field")
        return found


Format = Plain | Tsv | Jsonl


def join_paragraphs(windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
    """Records of lines to records of paragraphs: lines without a blank one between are one, a space at each break.

    Blank lines stay what they are. A paragraph is given when it has ended.
    """
    begun: list[Record] = []
    for window in windows:
        whole = []
        for record in window:
            if record.words.strip():
                begun.append(record)
                continue
            whole += [*_join(begun), record]
            begun = []
        if whole:
            yield whole
    if begun:
        yield _join(begun)


def _join(lines: list[Record]) -> list[Record]:
    if not lines:
        return []
    first, *rest = (line.words.rstrip() for line in lines)
    return [dataclasses.replace(lines[-1], words=" ".join([first, *(words.lstrip() for words in rest)]))]


def _cut_ending(line: bytes) -> tuple[bytes, bytes]:
    for ending in (b"\r\n", b"\n"):
        if line.endswith(ending):
            return line.removesuffix(ending), ending
    return line, b""


def _with_tabs(columns: list[bytes], place: int) -> list[bytes]:
    """Columns with the tabs before them (0) or after them (1)."""
    return [column + b"\t" if place else b"\t" + column for column in columns]


def _one_line(text: str) -> bytes:
    """A vocabulary may have a piece for the newline; a line stays a line."""
    return text.replace("\n", " ").encode()


def _one_cell(text: str) -> bytes:
    return _one_line(text.replace("\t", " "))


def _json_text(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """The keys of an object that is sound, and where their values stand."""
    place = _after_space(text, text.index("{") + 1)
    while text[place] != "}":
        key, place = JSON.raw_decode(text, place)
        start = _after_space(text, _after_space(text, place) + 1)
        _, end = JSON.raw_decode(text, start)
        yield key, start, end
        place = _after_space(text, end)
        if text[place] == ",":
            place = _after_space(text, place + 1)


def _after_space(text: str, place: int) -> int:
    found = JSON_SPACE.match(text, place)
    assert found
    return found.end()
