"""`heed export`."""

import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.models.errors import DataError, HeedError
from heed.models.system.files import refuse_existing

if TYPE_CHECKING:
    from heed.models.bundle.manifest import Manifest
    from heed.models.text.chat import ChatTemplate
    from heed.transformer.data.parallel_text import ParallelText


@click.command(
    cls=Command,
    extra="train",
    sections={
        "The bundle": ("output", "precision", "force"),
        "Its quality": ("test_src", "test_tgt"),
        "Its card": ("name", "licence", "trained_on"),
        "A model of text": ("chat_template",),
    },
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory of the bundle, to be made.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8", "int4"]),
    default="float32",
    show_default=True,
    help="Of matrix products. int8 is smaller and faster on a CPU, int4 for text still smaller, float16 for a GPU.",
)
@click.option("--test-src", multiple=True, type=options.TEXT_FILE, help="Test set to measure BLEU and chrF on.")
@click.option("--test-tgt", multiple=True, type=options.TEXT_FILE, help="Its translation.")
@click.option("--name", help="Of the model.  [default: the name of the directory]")
@click.option("--licence", default="", help="Of the model, for its card.")
@click.option("--trained-on", default="", help="The training text and whom to credit for it, for the card.")
@click.option("--chat-template", type=options.TEXT_FILE, help="A .toml that says how it was taught conversations.")
@options.force
def command(
    run: Path,
    output: Path,
    precision: str,
    test_src: tuple[str, ...],
    test_tgt: tuple[str, ...],
    name: str | None,
    licence: str,
    trained_on: str,
    chat_template: str | None,
    force: bool,
) -> None:
    """Turn a training run into a verified ONNX bundle.

    \b
    heed export runs/ende -o ende
    heed export runs/ende -o ende --precision int8 \\
        --test-src test.en --test-tgt test.de
    heed export runs/novel -o novel --precision int4

    Takes the checkpoint with the best validation BLEU, of a language model the one with the least loss, writes its
    graphs, and compares their results in ONNX Runtime with PyTorch's on the run's validation text. A bundle that
    differs is not written.
    """
    if len(test_src) != len(test_tgt):
        raise click.UsageError("--test-src and --test-tgt go together, file by file.")
    refuse_existing(output, force=force)
    if output.exists() and not (output / "heed.json").is_file():
        raise HeedError(f"{output}: is no heed model, and --force replaces nothing else; choose another name")
    from heed.export.exporter import export
    from heed.export.label import Label
    from heed.export.tasks import TASKS
    from heed.transformer.training.runs.run import open_run

    opened = open_run(run)
    given = {"test_src": test_src, "test_tgt": test_tgt, "chat_template": chat_template}
    for option, value in given.items():
        if value and option not in TASKS[opened.task].options:
            raise click.UsageError(f"--{option.replace('_', '-')} is for another task: {run} learns to {opened.task}.")
    label = Label(name=name or output.absolute().name, licence=licence, trained_on=trained_on)
    template = _read_template(chat_template) if chat_template else None
    test = _read_test(test_src, test_tgt) if test_src else None
    messages.note("Writing the graphs and comparing them with PyTorch")
    manifest = export(opened, output, precision=precision, label=label, test=test, chat_template=template, force=force)
    _report(manifest)
    messages.note(f"Done. Next: heed {manifest.task} -m {shlex.quote(str(output))}")


def _read_test(src: tuple[str, ...], tgt: tuple[str, ...]) -> "tuple[str, ParallelText]":
    """The name and the pairs of a test set."""
    from heed.transformer.data.parallel_text import read_pairs

    return ", ".join(Path(path).name for path in src), read_pairs(src, tgt)


def _report(manifest: "Manifest") -> None:
    parity, quality = manifest.parity, manifest.quality
    bits = "" if parity.bits_per_byte is None else f"; {parity.bits_per_byte:.4f} bits a byte"
    messages.note(
        f"{parity.texts} texts of {parity.tokens:,} tokens: {parity.greedy_identical} greedy and "
        f"{parity.beam_identical} beam {parity.beam_size} outputs the same as PyTorch's; log-probabilities differ by "
        f"at most {parity.log_prob_difference:.2g}; loss {parity.loss_bundle:.4f}, PyTorch's {parity.loss_torch:.4f}"
        f"{bits}"
    )
    if quality:
        whole = "" if quality.bleu_whole is None else f", over the whole vocabulary {quality.bleu_whole:.2f}"
        messages.note(
            f"{quality.test_set}: BLEU {quality.bleu:.2f} (PyTorch {quality.bleu_torch:.2f}{whole}), "
            f"chrF {quality.chrf:.2f}"
        )


def _read_template(path: str) -> "ChatTemplate":
    from heed.models.spec.tables import defaults, from_table
    from heed.models.text.chat import ChatTemplate

    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: no TOML ({error}); mend it") from None
    return from_table(ChatTemplate, defaults(ChatTemplate) | table, path)
