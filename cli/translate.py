"""`heed translate`."""

import contextlib
import sys
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, cast

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.lines import LineDecoder, read_windows
from heed.cli.loading import load_translator, search_config
from heed.models.files import grown_file, refuse_existing


@click.command(
    cls=Command,
    sections={
        "Input and output": ("inputs", "output", "force"),
        "Model and search": ("model", "beam_size", "length_penalty", "max_length", "shortlist", "split"),
        "Running": ("batch_size", "device", "threads"),
    },
)
@options.model
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File to translate; - is stdin. Repeat for more files.  [default: -]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write.  [default: stdout]",
)
@options.beam_size
@options.length_penalty
@options.max_length
@options.batch_size
@options.shortlist
@click.option(
    "--split/--no-split",
    default=True,
    help="Translate each sentence of a line by itself, or the line as a whole.  [default: split]",
)
@options.device
@options.threads
@options.force
def command(
    model: str | None,
    inputs: tuple[str, ...],
    output: Path | None,
    batch_size: int,
    shortlist: bool,
    split: bool,
    device: str,
    threads: int | None,
    force: bool,
    **search: Any,
) -> None:
    """Translate lines of text.

    \b
    echo "Good morning!" | heed translate
    heed translate -i news.en -o news.de
    heed translate -m ende --beam-size 1 < news.en > news.de

    Reads stdin or files and writes a line for each line, in order, blank for blank. Lines are translated as soon as
    they have arrived, so a person may type them.
    """
    file = None if output is None or str(output) == "-" else output
    if file is not None and (file.is_file() or not file.exists()):
        refuse_existing(file, force=force)
    from heed.models.translator import WINDOW

    translator = load_translator(model, device=device, threads=threads, shortlist=shortlist, split=split)
    config = search_config(translator.config, search)
    decoder = LineDecoder()
    with _open_output(file) as sink:
        for window in _windows(inputs or ("-",), batch_size * WINDOW):
            lines = [decoder.decode(line) for line in window]
            found = translator.translate([line.words for line in lines], config, batch_size=batch_size)
            # A vocabulary may have a piece for the newline; a line stays a line.
            texts = [translation.text.replace("\n", " ") for translation in found]
            sink.write("".join(text + line.ending for text, line in zip(texts, lines, strict=True)).encode())
            sink.flush()
    if decoder.n_replaced:
        messages.warning(f"{decoder.n_replaced} lines were not UTF-8; what could not be read became \ufffd")


def _windows(inputs: tuple[str, ...], limit: int) -> Iterator[list[bytes]]:
    """The lines of the inputs, one after another."""
    for name in inputs:
        with _open_input(name) as stream:
            yield from read_windows(stream, limit)


def _open_input(name: str) -> contextlib.AbstractContextManager[BufferedIOBase]:
    if name != "-":
        return Path(name).open("rb")
    stdin = cast("BufferedIOBase", sys.stdin.buffer)
    if stdin.isatty():
        messages.note("Translating what you type, a line at a time; Ctrl-D ends.")
    return contextlib.nullcontext(stdin)


@contextlib.contextmanager
def _open_output(path: Path | None) -> Iterator[IO[bytes]]:
    """The file, which appears when it is complete, or stdout."""
    if path is None:
        yield sys.stdout.buffer
        return
    if path.exists() and not path.is_file():  # a pipe or a device is written to, not replaced
        with path.open("wb") as file:
            yield file
        return
    with grown_file(path.resolve()) as (file, aside):
        try:
            yield file
        except BaseException:
            click.echo(f"{path} was not written; what is done stands in {aside}", err=True)
            raise
