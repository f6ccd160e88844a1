"""`heed runs`."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.markup import escape

from heed.cli import headline, messages, options
from heed.cli.command import Command, Group
from heed.cli.panels import panels, steps
from heed.cli.scale import figure
from heed.models.errors import HeedError, ModelError
from heed.models.files import refuse_existing, write_whole
from heed.models.history import History, is_number, is_run

PICTURES = (".html", ".svg", ".png")
COLUMNS = ("run", "kind", "steps", "best", "last wrote", "")


@click.group(cls=Group)
def command() -> None:
    """List training runs and draw how they went.

    \b
    heed runs list
    heed runs show runs/ende
    heed runs show runs/ende runs/ende-2 -o compared.html
    """


@command.command("list")
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
def list_runs(directory: Path) -> None:
    """List the runs in a directory, and in its directories.

    \b
    heed runs list
    heed runs list runs | cut -f1

    A line each, the run that wrote last first, with tabs between: directory, kind, steps, best figure, when it last
    wrote, and whether it has finished.
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
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in COLUMNS:
        table.add_column(title, justify="right" if title == "steps" else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    messages.console(stderr=False).print(table)


def _find(directory: Path) -> Iterator[Path]:
    """The runs at most two directories down: those of DIR, of DIR/runs, and of a group of runs."""
    for pattern in ("config.toml", "*/config.toml", "*/*/config.toml"):
        yield from (file.parent for file in sorted(directory.glob(pattern)) if is_run(file.parent))


def _row(history: History) -> tuple[str, ...]:
    """What the list says of a run."""
    best = history.best or {}
    name = next((name for name in headline.FIGURES if is_number(best.get(name))), None)
    return (
        str(history.path),
        headline.KINDS[history.kind],
        str(history.last_step),
        f"{headline.FIGURES[name]} {figure(best[name])}" if name else "",
        datetime.fromtimestamp(history.written).isoformat(" ", "minutes"),
        "finished" if history.finished else "",
    )


@command.command(cls=Command, extra="plot")
@click.argument(
    "runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture to write: .html, which tells values under the pointer, .svg or .png.",
)
@options.force
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON lines.")
def show(runs: tuple[Path, ...], output: Path | None, force: bool, as_json: bool) -> None:
    """Draw how runs went: loss, perplexity, BLEU or bits a byte, learning rate.

    \b
    heed runs show runs/ende
    heed runs show runs/ende runs/ende-2 -o compared.html
    heed runs show runs/ende --json | jq 'select(.event == "validation") | .bleu'

    Several runs are drawn in the same panels. A run that is going on is drawn as far as it came. A line of --json is a
    record of the run's log.jsonl with the name of the run; first of a run comes its summary.
    """
    if output and as_json:
        raise click.UsageError("--json and -o exclude each other.")
    if output:
        if output.suffix not in PICTURES:
            raise click.UsageError(f"-o {output}: end the name in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")
        refuse_existing(output, force=force)
    histories = [_read(path) for path in dict.fromkeys(runs)]
    if as_json:
        _print_records(histories)
        return
    names = headline.names([history.path for history in histories])
    if output is None:
        _draw(histories, names)
        return
    write_whole(output, _picture(histories, names, output.suffix))
    messages.note(f"Written to {output}.")


def _read(path: Path) -> History:
    """The history of a run that has some."""
    history = History.read(path)
    if not history.steps and not history.validations:
        raise ModelError(f"{path}: no records yet; the first comes after some steps of training")
    return history


def _print_records(histories: Sequence[History]) -> None:
    """Each run's summary, then its records in the order of their steps."""
    for history in histories:
        records = sorted((*history.steps, *history.validations, *history.marks), key=lambda record: record["step"])
        for record in ({"event": "summary"} | history.summary(), *records):
            click.echo(json.dumps({"run": str(history.path)} | record, ensure_ascii=False))


def _draw(histories: Sequence[History], names: Sequence[str]) -> None:
    """Draw on stdout, for the terminal's size."""
    from heed.cli.chart import Chart, heading

    shown, lettered = panels(histories, names), len(histories) > 1
    console = messages.console(stderr=False)
    lines = [
        line
        for number, (history, name) in enumerate(zip(histories, names, strict=True))
        for line in heading(history, name, number if lettered else None)
    ]
    events = [mark["step"] for history in histories for mark in history.marks]
    chart = Chart(steps(shown), events, lettered=lettered)
    height = console.height - len(lines) - 1  # and the prompt's
    for line in (*lines, *chart.draw(shown, console.width, height)):
        console.print(line, highlight=False)


def _picture(histories: Sequence[History], names: Sequence[str], suffix: str) -> bytes:
    """The picture as a file holds it."""
    from heed.cli.page import page
    from heed.cli.picture import Picture, heading

    shown, several = panels(histories, names), len(histories) > 1
    headings = [
        heading(history, name, number if several else None)
        for number, (history, name) in enumerate(zip(histories, names, strict=True))
    ]
    events = [(mark["step"], mark["event"]) for history in histories for mark in history.marks]
    picture = Picture(headings, shown, steps(shown), events)
    if suffix == ".html":
        return page(picture, histories, names).encode()
    return picture.svg().encode() if suffix == ".svg" else _png(picture.svg())


def _png(svg: str) -> bytes:
    """A picture of an SVG, in two dots a pixel.

    Raises:
        HeedError: Words cannot be drawn, for there is no font.
    """
    import resvg_py

    words = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
    with_text, without = (resvg_py.svg_to_bytes(svg_string=words.format(x)) for x in ('<text y="9">x</text>', ""))
    if with_text == without:
        raise HeedError(
            "a PNG needs a font, and there is none on this machine; install one (fonts-dejavu-core), or write .svg or .html"
        )
    return resvg_py.svg_to_bytes(svg_string=svg, zoom=2)
