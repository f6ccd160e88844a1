"""Which files `heed translate` reads, into which it writes, and how each is read."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click

from heed.cli import messages
from heed.cli.io.formats.choice import LINE_FORMATS, guess
from heed.cli.io.locations import is_url
from heed.models.system.files import refuse_existing

SHOWN = 3  # files told one by one


class Job(NamedTuple):
    """Inputs that become one output."""

    names: tuple[str, ...]  # of files or URLs, "-" for stdin
    output: str | None  # a path or URL; None: stdout
    format: str

    @property
    def file(self) -> Path | None:
        """The path of the output; None: stdout."""
        return None if self.output is None else Path(self.output)


def plan(names: tuple[str, ...], output: str | None, asked: str | None, column: str | None) -> list[Job]:
    """The jobs of a command; a directory as output gets a file for each input, under its name.

    Args:
        names: Of the inputs.
        output: A file, or a directory, which exists or ends with a slash; None or "-": stdout.
        asked: The format of all inputs; None: as their names tell.
        column: That is translated, where one was asked for.

    Raises:
        UsageError: Two inputs have one name, or there is no name; or several documents would become one.
    """
    if output is not None and (output.endswith("/") or Path(output).is_dir()):
        return _each(names, output, asked, column)
    formats = {asked or guess(name, column) for name in names}
    if len(formats) > 1:
        raise click.UsageError(
            f"The inputs are {', '.join(sorted(formats))}; give them to several commands, or -o DIR/."
        )
    (form,) = formats
    if len(names) > 1 and form not in LINE_FORMATS:
        raise click.UsageError(f"Several {form} files are no one file; give a directory for them: -o DIR/.")
    return [Job(names, None if output in (None, "-") else _normal(output), form)]


def _each(names: tuple[str, ...], directory: str, asked: str | None, column: str | None) -> list[Job]:
    if "-" in names:
        raise click.UsageError(f"{directory} is a directory, and stdin has no name in it; give a file to -o.")
    twice = [name for name, n in Counter(Path(name).name for name in names).items() if n > 1]
    if twice:
        raise click.UsageError(
            f"Several inputs are called {twice[0]}; they cannot all be {_inside(directory, twice[0])}."
        )
    return [Job((name,), _inside(directory, Path(name).name), asked or guess(name, column)) for name in names]


def _inside(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}" if is_url(directory) else str(Path(directory) / name)


def _normal(name: str) -> str:
    return name if is_url(name) else str(Path(name))


def make_directory(output: str | None) -> None:
    """Make the directory that an output with a slash at its end names.

    Raises:
        HeedError: The directory above it does not exist.
    """
    if output and output.endswith("/") and not is_url(output) and not Path(output).exists():
        refuse_existing(Path(output), force=False)
        Path(output).mkdir()


def tell_formats(jobs: list[Job], asked: str | None) -> None:
    """Say which formats were guessed."""
    if asked is not None:
        return
    guessed = [(name, job.format) for job in jobs for name in job.names if job.format != "lines"]
    if len(guessed) > SHOWN:
        told = ", ".join(f"{form} {n}" for form, n in Counter(form for _, form in guessed).items())
        messages.note(f"Files by the format that their names tell: {told}; --input-format lines reads plain lines")
    else:
        for name, form in guessed:
            messages.note(f"{name} is read as {form}; --input-format lines reads plain lines")
    for job in jobs:
        for name in job.names:
            if job.format == "lines" and guess(name, "1") != "lines":
                messages.note(f"{name} is read as plain lines; --column N translates one column of it")
