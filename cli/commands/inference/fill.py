"""`heed fill`."""

import json
from typing import TYPE_CHECKING

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.inputs import read_lines, warn_replaced
from heed.cli.io.locations import InputPath
from heed.cli.io.records import Decoder
from heed.cli.io.streams import write
from heed.cli.loading import find_model
from heed.models.errors import DataError

if TYPE_CHECKING:
    from heed.models.tasks.filler import Candidate, Filler

WINDOW = 64  # lines that are read ahead, if they have arrived
SPACE = "\u2581"  # in a token
INVITATION = "Type lines with [MASK] in them; Ctrl-D ends."
Found = list[list["Candidate"]]  # candidates of each mask


@click.command(
    cls=Command,
    sections={
        "Input and output": ("input_", "n_best", "as_json"),
        "Running": ("model", "device", "threads"),
    },
)
@click.argument("text", required=False)
@click.option(
    "-i",
    "--input",
    "input_",
    type=InputPath(exists=True, dir_okay=False, allow_dash=True),
    help="File to fill line by line; - is stdin.  [default: -]",
)
@click.option(
    "-n", "n_best", type=click.IntRange(min=1), default=5, show_default=True, help="Number of candidates for each mask."
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object for each line.")
@options.encoder_model
@options.device
@options.threads
def command(
    text: str | None,
    input_: str | None,
    n_best: int,
    as_json: bool,
    model: str | None,
    device: str,
    threads: int | None,
) -> None:
    """Fill masks in a text.

    \b
    heed fill -m bert "Paris is the [MASK] of France."
    heed fill -m roberta -n 1 < lines.txt

    Write [MASK] or <mask>, whatever the model calls it. Each candidate is a line: its probability, the token, and the
    text with it, separated by tabs. An empty line separates the candidates of several masks, and those of several
    lines. Masks are predicted independently.
    """
    if text is not None and input_:
        raise click.UsageError("Give a text or --input, not both.")
    from heed.models.tasks.filler import Filler

    path = find_model(model, "fill")
    with messages.timed(f"Loaded {path} for {device}"):
        filler = Filler.load(path, device=device, threads=threads)
    if text is not None:
        _write([text], filler.fill([text], n_best), as_json=as_json, first=True)
        return
    decoder, n_before = Decoder(), 0
    for lines in read_lines((input_ or "-",), decoder, WINDOW, invitation=INVITATION):
        _write(lines, _filled(filler, lines, n_best, n_before), as_json=as_json, first=n_before == 0)
        n_before += len(lines)
    warn_replaced(decoder)


def _filled(filler: "Filler", lines: list[str], n_best: int, n_before: int) -> list[Found]:
    """The candidates of lines; an error names the line.

    Raises:
        DataError: A line has no mask, or is too long.
    """
    try:
        return filler.fill(lines, n_best)
    except DataError:
        for number, line in enumerate(lines, n_before + 1):
            try:
                filler.fill([line], 1)
            except DataError as error:
                raise DataError(f"line {number}: {error}") from None
        raise


def _write(lines: list[str], found: list[Found], *, as_json: bool, first: bool) -> None:
    if as_json:
        for line, masks in zip(lines, found, strict=True):
            table = {"text": line, "masks": [[_table(each) for each in candidates] for candidates in masks]}
            write(json.dumps(table, ensure_ascii=False) + "\n")
        return
    for candidates in (candidates for masks in found for candidates in masks):
        write("" if first else "\n")
        write("".join(f"{each.probability:.4f}\t{_shown(each)}\t{_one_line(each.text)}\n" for each in candidates))
        first = False


def _table(candidate: "Candidate") -> dict[str, object]:
    return {
        "token": candidate.token,
        "piece": candidate.piece,
        "probability": round(candidate.probability, 6),
        "text": candidate.text,
    }


def _shown(candidate: "Candidate") -> str:
    """The token without the space before it; a space itself as ▁."""
    return _one_line(candidate.piece.replace(SPACE, " ").strip(" ") or candidate.piece)


def _one_line(text: str) -> str:
    """A text whose line breaks and tabs are written as \\n and \\t."""
    return text.translate({ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"})
