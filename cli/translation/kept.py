"""Options of `heed translate` for mark-up, placeholders and glossaries, and a report of what could not be done."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages
from heed.cli.io.locations import InputPath
from heed.models.tasks.translation.doubts import doubts
from heed.models.text.markup.tags import scan

if TYPE_CHECKING:
    from heed.cli.io.records import Record
    from heed.models.tasks.translation.translation import Translation

SHOWN = 5  # line numbers listed in a warning
WIDTH = 40  # characters of what is shown of a line

Function = Callable[..., Any]


def _regular_expression(_: click.Context, __: click.Parameter, patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise click.BadParameter(f"{pattern!r} is not a regular expression: {error}.") from None
    return patterns


def options(function: Function) -> Function:
    """The options."""
    for option in (
        click.option(
            "--keep",
            "keep",
            multiple=True,
            hidden=True,  # the name of --protect in heed 0.1
            callback=_regular_expression,
        ),
        click.option(
            "--protect",
            multiple=True,
            metavar="PATTERN",
            callback=_regular_expression,
            help="Protect what matches a regular expression: copy it unchanged, in its place. Repeat for more.",
        ),
        click.option(
            "--keep-tags",
            is_flag=True,
            help="Protect tags, URLs, e-mail addresses, placeholders ({name}, %s), options and paths.",
        ),
        click.option(
            "--glossary",
            type=InputPath(exists=True, dir_okay=False, path_type=Path),
            help="File of required terms: on each line a term, a tab and its translation. Terms match whole words as "
            "they are written; terms in small letters match capitals, too.",
        ),
        click.option(
            "--repair/--no-repair",
            default=True,
            show_default=True,
            help="Search again where a translation lost a number, an address, a code word or a name.",
        ),
    ):
        function = option(function)
    return function


class OpenMarkup:
    """What mark-up lines leave open for the next, as a comment of several lines."""

    def __init__(self) -> None:
        self._inside, self._since, self._number = "", 0, 0

    def follow(self, windows: Iterable[list["Record"]]) -> Iterator[list["Record"]]:
        """The records, with what each stands in."""
        for window in windows:
            yield [self._next(record) for record in window]

    def _next(self, record: "Record") -> "Record":
        inside = self._inside
        self._number += 1
        _, self._inside = scan(record.words, inside)
        if self._inside and not inside:
            self._since = self._number
        return record._replace(inside=inside) if inside else record

    def warnings(self) -> list[str]:
        """What is to be told at the end."""
        if not self._inside:
            return []
        return [f"mark-up that line {self._since} opens is closed nowhere; from there on nothing was translated"]


class Report:
    """Counts the lines whose terms or placeholders made difficulties.

    Args:
        noun: What is counted: lines, or the texts of a document.
    """

    def __init__(self, noun: str = "line") -> None:
        self._noun = noun
        self._missing: list[tuple[int, str]] = []
        self._apart: list[tuple[int, str]] = []
        self._copied: list[tuple[int, str]] = []
        self._looped: list[tuple[int, str]] = []
        self._repaired: list[tuple[int, str]] = []
        self._doubtful: list[tuple[int, str]] = []

    def add(self, first: int, found: Sequence[Sequence["Translation"]]) -> None:
        """Check the best translations of the next lines; `first` is the number of the first one, counted from 0."""
        for number, best in enumerate(found, start=first + 1):
            missing = dict.fromkeys(" or ".join(term) for each in best for term in each.missing)
            if missing:
                self._missing.append((number, ", ".join(missing)))
            if any(each.apart for each in best):
                self._apart.append((number, ""))
            if best[0].copied:
                self._copied.append((number, " ".join(dict.fromkeys(best[0].copied))))
            if best[0].looped:
                self._looped.append((number, ""))
            if best[0].repaired:
                self._repaired.append((number, ", ".join(dict.fromkeys(best[0].repaired))))
            if reasons := doubts(best[0]):
                self._doubtful.append((number, ", ".join(reasons)))
                messages.detail(f"line {number} is doubtful: {', '.join(reasons)}")

    def notes(self) -> list[str]:
        """What was done for translations; line numbers are counted from 1, over all inputs."""
        found = []
        if self._repaired:
            found.append(
                f"{self._lines(self._repaired, 'w', 'as', 'ere')} searched again for what was lost: "
                f"{self._some(self._repaired)}"
            )
        if self._doubtful:
            found.append(f"{self._lines(self._doubtful, '', 'is', 'are')} doubtful: {self._some(self._doubtful)}")
        return found

    def warnings(self) -> list[str]:
        """The warnings to print at the end; line numbers are counted from 1, over all inputs."""
        found = []
        if self._missing:
            found.append(f"{self._lines(self._missing, 'lack')} a term of the glossary: {self._some(self._missing)}")
        if self._apart:
            found.append(
                f"{self._lines(self._apart, 'w', 'as', 'ere')} translated in pieces, around what is protected, because "
                f"its place could not be determined: {self._some(self._apart)}"
            )
        if self._copied:
            found.append(
                f"{self._lines(self._copied, 'ha', 's', 've')} characters that the model does not know, copied as they "
                f"are: {self._some(self._copied)}"
            )
        if self._looped:
            end = "does not end" if len(self._looped) == 1 else "do not end"
            found.append(
                f"{self._lines(self._looped, 'repeat')} a phrase again and again, or {end}: "
                f"{self._some(self._looped)}; try --no-repeat-ngram 3"
            )
        return found

    def _lines(self, lines: list[tuple[int, str]], verb: str, one: str = "s", several: str = "") -> str:
        """As "1 line lacks" and "2 lines lack"."""
        return f"1 {self._noun} {verb}{one}" if len(lines) == 1 else f"{len(lines)} {self._noun}s {verb}{several}"

    def _some(self, lines: list[tuple[int, str]]) -> str:
        named = [
            f"{self._noun} {number}" + (f" ({_short(what)})" if what else "") for number, what in sorted(lines)[:SHOWN]
        ]
        return ", ".join(named) + (", …" if len(lines) > SHOWN else "")


def _short(text: str) -> str:
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)  # no bell, no colours
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
