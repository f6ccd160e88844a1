"""What `heed translate` is to keep or to use: mark-up, placeholders and terms; and a word on what it could not."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from heed.models.tasks.translation import Translation

SHOWN = 5  # lines named in a warning

Function = Callable[..., Any]


def _regular_expression(_: click.Context, __: click.Parameter, patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise click.BadParameter(f"{pattern!r} is no regular expression: {error}.") from None
    return patterns


def options(function: Function) -> Function:
    """The options."""
    for option in (
        click.option(
            "--keep",
            multiple=True,
            metavar="PATTERN",
            callback=_regular_expression,
            help="Leave what matches a regular expression as it is, in its place. Repeat for more.",
        ),
        click.option(
            "--keep-tags",
            is_flag=True,
            help="Leave mark-up as it is (<b>…</b>), URLs, e-mail addresses, {name}, {0}, %s.",
        ),
        click.option(
            "--glossary",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="File of terms that must appear: a term, a tab and its translation in each line.",
        ),
    ):
        function = option(function)
    return function


class Report:
    """Counts the lines whose terms or placeholders made difficulties.

    Args:
        noun: What is counted: lines, or the texts of a document.
    """

    def __init__(self, noun: str = "line") -> None:
        self._noun = noun
        self._missing: list[tuple[int, str]] = []
        self._apart: list[tuple[int, str]] = []

    def add(self, first: int, found: Sequence[Sequence["Translation"]]) -> None:
        """Look through the best translations of some more lines, of which the first has a number, counted from 0."""
        for number, best in enumerate(found, start=first + 1):
            missing = dict.fromkeys(" or ".join(term) for each in best for term in each.missing)
            if missing:
                self._missing.append((number, ", ".join(missing)))
            if any(each.apart for each in best):
                self._apart.append((number, ""))

    def warnings(self) -> list[str]:
        """What is to be told at the end; line numbers are counted from 1, over all inputs."""
        found = []
        if self._missing:
            found.append(f"{len(self._missing)} {self._noun}s lack a term of the glossary: {self._some(self._missing)}")
        if self._apart:
            found.append(
                f"{len(self._apart)} {self._noun}s were translated in the pieces between what they keep, for its place "
                f"in them could not be told: {self._some(self._apart)}"
            )
        return found

    def _some(self, lines: list[tuple[int, str]]) -> str:
        named = [f"{self._noun} {number}" + (f" ({what})" if what else "") for number, what in lines[:SHOWN]]
        return ", ".join(named) + (", …" if len(lines) > SHOWN else "")
