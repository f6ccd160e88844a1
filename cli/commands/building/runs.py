"""`heed runs`."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import click

from heed.cli import messages, options
from heed.cli.charts.drawing import Drawing
from heed.cli.charts.headline import TASKS, figures
from heed.cli.command import Command, Group
from heed.cli.io.locations import InputPath, OutputPath
from heed.models.errors import HeedError, ModelError
from heed.models.runs.history import History, is_run
from heed.models.system.files import refuse_existing, write_whole
from heed.models.system.streams import is_stream

PICTURES = (".html", ".svg", ".png")
COLUMNS = ("run", "kind", "steps", "best", "last wrote", "done")


@click.group(cls=Group)
def command() -> None:
    """List training runs and plot them.

    \b
    heed runs list
    heed runs show runs/ende
    heed runs show runs/ende runs/ende-2 -o compared.html
    """


@command.command("list")
@click.argument("directory", metavar="[DIR]", default=".", type=InputPath(exists=True, file_okay=False, path_type=Path))
def list_runs(directory: Path) -> None:
    """List the runs in a directory and its subdirectories.

    \b
    heed runs list
    heed runs list runs | cut -f1

    One line each, the most recent first, separated by tabs: directory, kind, steps, best figure, when it last wrote,
    and whether it has finished.
    """
    histories = []
    for path in _find(directory):
        try:
            histories.append(History.read(path))
        except ModelError as error:
            messages.warning(str(error))
    rows = [_row(history) for history in sorted(histories, key=lambda history: -history.written)]
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in COLUMNS:
        justify: Literal["left", "right"] = "right" if title == "steps" else "left"
        table.add_column(title, justify=justify, no_wrap=title != "run", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    messages.console(stderr=False).print(table)


def _find(directory: Path) -> Iterator[Path]:
    """The runs at most two directories down."""
    for pattern in ("config.toml", "*/config.toml", "*/*/config.toml"):
        yield from (file.parent for file in sorted(directory.glob(pattern)) if is_run(file.parent))


def _row(history: History) -> tuple[str, ...]:
    """A row of the list."""
    return (
        str(history.path),
        TASKS[history.task],
        str(history.last_step),
        next(iter(figures(history.best or {})), ""),
        datetime.fromtimestamp(history.written).isoformat(" ", "minutes"),
        "done" if history.finished else "",
    )


@command.command(cls=Command, extra="plot")
@click.argument(
    "runs", metavar="RUN...", nargs=-1, required=True, type=InputPath(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    type=OutputPath(dir_okay=False, path_type=Path),
    help="Picture to write: .html (which shows values under the pointer), .svg or .png.",
)
@options.force
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON lines.")
def show(runs: tuple[Path, ...], output: Path | None, force: bool, as_json: bool) -> None:
    """Plot runs: loss, perplexity, BLEU or bits per byte, learning rate.

    \b
    heed runs show runs/ende
    heed runs show runs/ende runs/ende-2 -o compared.html
    heed runs show runs/ende --json | jq 'select(.event == "validation") | .bleu'

    Several runs share the same panels; a run in progress is drawn up to now. ◆ marks the best checkpoint, × another
    event, such as a skipped step. With --json, each run's summary comes first, and then the records of its log.jsonl
    with the name of the run.
    """
    if output and as_json:
        raise click.UsageError("--json and -o exclude each other.")
    if output:
        if output.suffix not in PICTURES:
            raise click.UsageError(f"-o {output}: end the name in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")
        if not is_stream(output):
            refuse_existing(output, force=force)
    histories = [History.read(path) for path in dict.fromkeys(runs)]
    if as_json:
        _print_records(histories)
    elif output:
        write_whole(output, _picture(histories, output.suffix))
        messages.note(f"Written to {output}.")
    else:
        _draw(Drawing.of(histories))


def _print_records(histories: Sequence[History]) -> None:
    """Each run's summary, then its records in the order of their steps."""
    for history in histories:
        records = sorted((*history.steps, *history.validations, *history.marks), key=lambda record: record["step"])
        for record in ({"event": "summary", **history.summary()}, *records):
            click.echo(json.dumps({"run": str(history.path), **record}, ensure_ascii=False))


def _draw(drawing: Drawing) -> None:
    """Plot on stdout, as large as the terminal.

    Raises:
        HeedError: The terminal's encoding lacks the characters of the curves.
    """
    from heed.cli.charts.chart import Chart

    console = messages.console(stderr=False)
    if not console.encoding.startswith("utf"):
        raise HeedError(
            f"{console.encoding} lacks the characters of curves; set PYTHONIOENCODING=utf-8, or give -o FILE.html"
        )
    for line in Chart(drawing).lines(console.width, console.height - 1):  # the last line is for the prompt
        console.print(line, highlight=False)


def _picture(histories: Sequence[History], suffix: str) -> bytes:
    """The bytes of a picture file."""
    from heed.cli.charts.page import page
    from heed.cli.charts.picture import Picture, png

    picture = Picture(Drawing.of(histories))
    if suffix == ".html":
        return page(picture, histories).encode()
    return picture.svg().encode() if suffix == ".svg" else png(picture.svg())
