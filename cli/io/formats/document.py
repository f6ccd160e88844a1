"""Documents: files that are read whole, of which segments are translated."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol

from heed.cli.io.inputs import Window
from heed.cli.io.records import Decoder, Record, unchanged
from heed.models.errors import DataError

BYTE_ORDER_MARK = "\ufeff"


class Segment(NamedTuple):
    """A place of a document, and what is translated of it."""

    start: int  # in characters of the document
    end: int
    texts: tuple[str, ...]
    fill: Callable[..., str]  # what the place has with translations, one for each text

    def unless_same(self, text: str) -> "Segment":
        """The segment of a document, which stays as it is where each translation is the text itself."""

        def fill(*translations: str) -> str:
            return text[self.start : self.end] if translations == self.texts else self.fill(*translations)

        return self._replace(fill=fill)


class Grammar(Protocol):
    """Finds the segments of a kind of document."""

    def charset(self, data: bytes, /) -> str:
        """How a document's characters are encoded."""
        ...

    def segments(self, text: str) -> Iterator[Segment]:
        """The segments of a document, in order.

        Raises:
            DataError: It is no such document; it names the line.
        """
        ...

    def warnings(self) -> list[str]:
        """What the user must know of the translations that were filled in."""
        ...


class Document:
    """Reads a document whole; what is not in a segment passes byte for byte.

    Args:
        grammar: Of the document.
        decoder: Of the texts that are translated; the rest may be anything.
    """

    has_marks = True  # the texts have marks that a translation must keep
    n_bad = 0

    def __init__(self, grammar: Grammar, decoder: Decoder) -> None:
        self._grammar, self._decoder = grammar, decoder

    def records(self, windows: Iterable[Window], limit: int) -> Iterator[list[Record]]:
        """The segments of the document, `limit` at a time.

        Raises:
            DataError: It cannot be read.
        """
        name, lines = "stdin", list[bytes]()
        for window in windows:
            name = window.name
            lines += window.lines
        try:
            found = self._records(b"".join(lines))
            while some := list(islice(found, limit)):
                yield some
        except DataError as error:
            raise DataError(f"{name}: {error}") from None

    def warnings(self) -> list[str]:
        """See `Grammar`."""
        return self._grammar.warnings()

    def _records(self, data: bytes) -> Iterator[Record]:
        charset = self._grammar.charset(data)

        def encode(text: str) -> bytes:
            return text.encode(charset, "surrogateescape")

        try:
            text = data.decode(charset, "surrogateescape")
            if encode(text) != data:
                raise DataError(f"not all of it is {charset}, as it says; convert it to UTF-8 with iconv")
        except (UnicodeError, LookupError) as error:
            raise DataError(f"it cannot be read as {charset} ({error}); convert it to UTF-8 with iconv") from None
        before, here = b"", 0
        if text.startswith(BYTE_ORDER_MARK):
            before, text = encode(BYTE_ORDER_MARK), text.removeprefix(BYTE_ORDER_MARK)
        for segment in self._grammar.segments(text):
            before += encode(text[here : segment.start])
            texts = tuple(map(self._decoder.replace, segment.texts))
            yield Record(texts, before, b"", lambda *found, fill=segment.fill: encode(fill(*found)))
            before, here = b"", segment.end
        if rest := before + encode(text[here:]):
            yield unchanged(rest)
