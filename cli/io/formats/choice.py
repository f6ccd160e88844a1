"""Which format a file has."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from heed.cli.io.formats.document import Document, Grammar
from heed.cli.io.formats.lines import Lines
from heed.cli.io.formats.table import Table
from heed.cli.io.inputs import Window
from heed.cli.io.records import Decoder, Jsonl, Plain, Record, Tsv

SUFFIXES = {
    ".srt": "srt", ".vtt": "vtt", ".po": "po", ".pot": "po", ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl",
}  # fmt: skip
LINE_FORMATS = ("lines", "tsv", "jsonl")
NAMES = (*LINE_FORMATS, "csv", "srt", "vtt", "po", "markdown", "html")
COMPRESSED = (".gz", ".zst")


class Format(Protocol):
    """Reads the records of a file."""

    has_marks: bool  # whether texts have marks that a translation must keep

    def records(self, windows: Iterable[Window], limit: int, /) -> Iterator[list[Record]]:
        """The records, at most `limit` at a time.

        Raises:
            DataError: Something cannot be read.
        """
        ...

    def warnings(self) -> list[str]:
        """What the user must know at the end."""
        ...


class Reading(NamedTuple):
    """How files are to be read; what is None was not asked."""

    column: str | None = None
    field: str | None = None
    document: bool = False
    skip_bad: bool = False
    everything: bool = False  # translate again what has a translation
    language: Callable[[], str] = str  # of the translations, where a format needs it

    @classmethod
    def asked(cls, options: dict[str, Any], language: Callable[[], str]) -> "Reading":
        """As the options of a command say."""
        names = ("column", "field", "document", "skip_bad", "everything")
        return cls(**{name: options[name] for name in names}, language=language)

    def format(self, name: str, decoder: Decoder) -> Format:
        """The reader of a format."""
        if name == "lines":
            return Lines(Plain(decoder).parse, document=self.document)
        if name == "tsv":
            return Lines(Tsv(decoder, int(self.column or 1)).parse, skip_bad=self.skip_bad)
        if name == "jsonl":
            return Lines(Jsonl(decoder, self.field or "text").parse, skip_bad=self.skip_bad)
        if name == "csv":
            return Table(decoder, self.column or "1")
        return Document(self._grammar(name), decoder)

    def _grammar(self, name: str) -> Grammar:
        # Here and not above: a pipe of lines does not wait for parsers.
        if name == "po":
            from heed.cli.io.formats.gettext.catalogue import Catalogue

            return Catalogue(self.language(), everything=self.everything)
        if name == "markdown":
            from heed.cli.io.formats.markdown import Markdown

            return Markdown()
        if name == "html":
            from heed.cli.io.formats.page import Page

            return Page()
        from heed.cli.io.formats.subtitles import Subtitles

        return Subtitles()


def guess(name: str, column: str | None) -> str:
    """The format that a file's name tells; lines where it does not, or where it does not tell what to translate."""
    path = Path(name)
    found = SUFFIXES.get((path.with_suffix("") if path.suffix in COMPRESSED else path).suffix.lower(), "lines")
    return "lines" if found in ("csv", "tsv") and column is None else found
