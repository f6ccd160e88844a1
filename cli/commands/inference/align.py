"""`heed align`."""

import itertools
import json
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.inputs import read_lines, warn_replaced
from heed.cli.io.locations import InputPath
from heed.cli.io.records import Decoder
from heed.cli.io.results import pharaoh
from heed.cli.io.streams import write
from heed.cli.loading import find_model, load_translator
from heed.models.errors import DataError
from heed.models.tasks.translation.translation import word_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 256  # pairs aligned together
FILE = InputPath(exists=True, dir_okay=False, allow_dash=True)


@click.command(
    cls=Command,
    sections={"Text": ("src", "tgt"), "Output": ("as_json",), "Running": ("model", "device", "threads")},
)
@click.option("--src", required=True, type=FILE, help="Source text, a line each; - is stdin.")
@click.option("--tgt", required=True, type=FILE, help="Its translation, line by line; - is stdin.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON objects: source, translation, alignment.")
@options.model
@options.device
@options.threads
def command(src: str, tgt: str, as_json: bool, model: str | None, **running: Any) -> None:
    """Align the words of texts and their translations.

    \b
    heed align --src test.en --tgt test.de
    heed translate < test.en | heed align --src test.en --tgt - --json

    Writes for each pair of lines which words translate each other, such as 0-0 1-2: numbers of words of the source and
    of the translation, from 0. White space separates words. A line without words gets an empty line.
    """
    if src == tgt == "-":
        raise click.UsageError("Only one of --src and --tgt can be stdin.")
    translator, n_long = load_translator([find_model(model)], shortlist=False, split=False, aligns=True, **running), 0
    assert translator.aligner is not None
    for number, window in enumerate(_windows(src, tgt)):
        found = translator.aligner.links(window)
        for i, ((source, text), links) in enumerate(zip(window, found, strict=True), start=1 + number * WINDOW):
            pairs = word_pairs(source, text, links or [])
            record = {"source": source, "translation": text, "alignment": pairs}
            write((json.dumps(record, ensure_ascii=False) if as_json else pharaoh(pairs)) + "\n")
            if links is None and source.strip() and text.strip():
                n_long += 1
                messages.detail(f"line {i} is too long to be aligned")
    if n_long:
        lines = "1 line is" if n_long == 1 else f"{n_long:,} lines are"
        messages.warning(f"{lines} too long to be aligned; split {'it' if n_long == 1 else 'them'} into sentences")


def _windows(src: str, tgt: str) -> "Iterator[list[tuple[str, str]]]":
    """Pairs of lines.

    Raises:
        DataError: One file has more lines than the other.
    """
    decoders, names = (Decoder(), Decoder()), (src, tgt)
    sides = (
        itertools.chain.from_iterable(read_lines((name,), decoder, WINDOW))
        for name, decoder in zip(names, decoders, strict=True)
    )
    pairs = itertools.zip_longest(*sides)
    n_lines = 0
    while window := list(itertools.islice(pairs, WINDOW)):
        whole = [(source, target) for source, target in window if source is not None and target is not None]
        n_lines += len(whole)
        yield whole
        if len(whole) < len(window):
            shorter = names[window[len(whole)].index(None)]
            raise DataError(
                f"{shorter}: ends after {n_lines:,} lines, the other file does not; give files of equal length"
            )
    for name, decoder in zip(names, decoders, strict=True):
        warn_replaced(decoder, f"{name}: {decoder.n_replaced} lines were")
