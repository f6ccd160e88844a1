"""Records: which part of a line is translated and which is copied."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from heed.models.errors import DataError
from heed.models.patterns import regex

JSON_SPACE = regex(r"[ \t\n\r]*")
SURROGATE = regex(r"[\ud800-\udfff]")
# Numbers stay text, because other fields are not used; so they have no limits.
JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class Record(NamedTuple):
    """What is read, translated and written as one: a line, a paragraph, or a block of a document."""

    texts: tuple[str, ...]  # what is translated: one text of a line, none or several of a block
    before: bytes  # white space around it
    after: bytes  # the rest, with the line's end
    encode: Callable[..., bytes]  # the translations, one for each text, as they stand there
    inside: str = ""  # what mark-up the line before has left open; see `heed.models.text.markup.tags.scan`

    @property
    def words(self) -> str:
        """The text of a line or a paragraph."""
        (words,) = self.texts
        return words

    def filled(self, *translations: str) -> bytes:
        """The record with translations in the place of its texts."""
        return self.before + self.encode(*translations) + self.after


def unchanged(data: bytes) -> Record:
    """What passes as it is."""
    return Record((), data, b"", bytes)


class Decoder:
    """Decodes bytes and counts what was not UTF-8.

    Args:
        strict: Refuse such bytes.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.n_replaced = 0  # texts with replaced bytes
        self._strict = strict

    def decode(self, data: bytes) -> str:
        """The text.

        Raises:
            DataError: It is not UTF-8, and `strict` is set.
        """
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self._replaced()
            return data.decode("utf-8", "replace")

    def replace(self, text: str) -> str:
        """A text without lone surrogates, which stand for bytes or come from JSON.

        Raises:
            DataError: As `decode`.
        """
        replaced = SURROGATE.sub("\ufffd", text)
        if replaced != text:
            self._replaced()
        return replaced

    def _replaced(self) -> None:
        if self._strict:
            raise DataError("not UTF-8; convert it (iconv), or leave out --strict")
        self.n_replaced += 1


class Plain:
    """The whole line is translated."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def parse(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            DataError: See `Decoder`.
        """
        words, ending = _cut_ending(line)
        return Record((self._decoder.decode(words),), b"", ending, _one_line)


class Tsv:
    """One of the columns, separated by tabs, is translated.

    Args:
        decoder: For that column only; the others may be any bytes.
        column: Counted from 1.
    """

    def __init__(self, decoder: Decoder, column: int) -> None:
        self._decoder, self._column = decoder, column

    def parse(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            DataError: The column is missing, or see `Decoder`.
        """
        line, ending = _cut_ending(line)
        columns = line.split(b"\t")
        if len(columns) < self._column and line.strip():
            raise DataError(
                f"no column {self._column}, only {len(columns)}; correct the line or choose another --column"
            )
        place = min(self._column, len(columns)) - 1  # a blank line is copied
        before, after = (
            b"".join(part) for part in (_with_tabs(columns[:place], 1), _with_tabs(columns[place + 1 :], 0))
        )
        return Record((self._decoder.decode(columns[place]),), before, after + ending, _one_cell)


class Jsonl:
    """One field of the object in each line is translated.

    Args:
        decoder: For that field only.
        field: Its name; `translation.en` is the field `en` of the object in `translation`, unless a field has just
            that name.
    """

    def __init__(self, decoder: Decoder, field: str) -> None:
        self._decoder, self._field = decoder, field

    def parse(self, line: bytes) -> Record:
        """The record of a line.

        Raises:
            DataError: Not an object with that field, or the field is not text, or see `Decoder`.
        """
        line, ending = _cut_ending(line)
        if not line.strip():
            return Record((line.decode("ascii"),), b"", ending, str.encode)
        text = line.decode("utf-8", "surrogateescape")  # the other fields may be any bytes
        start, end = self._find(text)
        before, literal, after = (
            part.encode("utf-8", "surrogateescape") for part in (text[:start], text[start:end], text[end:])
        )
        words = JSON.decode(literal.decode("utf-8", "surrogateescape"))
        return Record((self._decoder.replace(words),), before, after + ending, _json_text)

    def _find(self, text: str) -> tuple[int, int]:
        """The position of the field's value."""
        try:
            record = JSON.decode(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON ({error}); correct the line") from None
        start, end = text.index("{") if isinstance(record, dict) else 0, 0
        keys = [self._field] if isinstance(record, dict) and self._field in record else self._field.split(".")
        for key in keys:
            if not isinstance(record, dict) or key not in record:
                raise DataError(
                    f"not an object with a field {self._field!r}; correct the line or choose another --field"
                )
            # Of a key that is there twice, the last counts.
            start, end = [place for name, *place in _members(text, start) if name == key][-1]
            record = record[key]
        if text[start] != '"':
            raise DataError(f"the field {self._field!r} is not text; correct the line or choose another --field")
        return start, end


def join_paragraphs(windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
    """Join lines up to a blank one into a paragraph, with a space at each line break.

    Blank lines are copied. A paragraph is returned when it has ended.
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
    return [lines[-1]._replace(texts=(" ".join([first, *(words.lstrip() for words in rest)]),))]


def _cut_ending(line: bytes) -> tuple[bytes, bytes]:
    for ending in (b"\r\n", b"\n"):
        if line.endswith(ending):
            return line.removesuffix(ending), ending
    return line, b""


def _with_tabs(columns: list[bytes], place: int) -> list[bytes]:
    """Columns with the tabs before them (0) or after them (1)."""
    return [column + b"\t" if place else b"\t" + column for column in columns]


def _one_line(text: str) -> bytes:
    """Text without line ends, which a vocabulary may contain: a line stays one line."""
    return text.replace("\n", " ").encode()


def _one_cell(text: str) -> bytes:
    return _one_line(text.replace("\t", " "))


def _json_text(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def _members(text: str, place: int) -> Iterator[tuple[str, int, int]]:
    """The keys of a sound object that begins at a place, and where their values stand."""
    place = _after_space(text, place + 1)
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
