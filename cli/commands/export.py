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
    from heed.export.label import Label
    from heed.models.text.chat import ChatTemplate
    from heed.transformer.training.runs.run import TextRun, TranslationRun


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
    help="Of matrix products. int8, and of a model of text int4, is smaller and faster on a CPU, float16 on a GPU.",
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
    from heed.export.label import Label
    from heed.transformer.training.runs.run import TextRun, open_run

    opened = open_run(run)
    label = Label(name=name or output.absolute().name, licence=licence, trained_on=trained_on)
    if isinstance(opened, TextRun):
        if test_src:
            raise click.UsageError("--test-src: a model of text is measured on its run's validation text.")
        _export_text(opened, output, precision, label, chat_template, force=force)
        return
    if precision == "int4" or chat_template:
        raise click.UsageError("int4 and --chat-template are for models of text, and this one translates.")
    _export_translation(opened, output, precision, label, (test_src, test_tgt), force=force)


def _export_translation(
    run: "TranslationRun",
    output: Path,
    precision: str,
    label: "Label",
    test_paths: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    force: bool,
) -> None:
    from heed.export.exporter import export
    from heed.transformer.data.parallel_text import read_pairs

    test = (", ".join(Path(path).name for path in test_paths[0]), read_pairs(*test_paths)) if test_paths[0] else None
    messages.note("Writing the graphs and comparing them with PyTorch")
    manifest = export(run, output, precision=precision, label=label, test=test, force=force)
    parity, quality = manifest.parity, manifest.quality
    messages.note(
        f"{parity.sentences} sentences: {parity.greedy_identical} greedy and {parity.beam_identical} beam "
        f"{parity.beam_size} translations the same as PyTorch's; log-probabilities differ by at most "
        f"{parity.log_prob_difference:.2g}; loss {parity.loss_bundle:.4f}, PyTorch's {parity.loss_torch:.4f}"
    )
    if quality:
        whole = "" if quality.bleu_whole is None else f", over the whole vocabulary {quality.bleu_whole:.2f}"
        messages.note(
            f"{quality.test_set}: BLEU {quality.bleu:.2f} (PyTorch {quality.bleu_torch:.2f}{whole}), "
            f"chrF {quality.chrf:.2f}"
        )
    messages.note(f"Done. Translate with: heed translate -m {shlex.quote(str(output))}")


def _export_text(
    run: "TextRun", output: Path, precision: str, label: "Label", chat_template: str | None, *, force: bool
) -> None:
    from heed.export.text_exporter import export_text

    template = _read_template(chat_template) if chat_template else None
    messages.note("Writing the graphs and comparing them with PyTorch")
    manifest = export_text(run, output, precision=precision, label=label, chat_template=template, force=force)
    parity = manifest.parity
    messages.note(
        f"{parity.texts} texts of {parity.tokens:,} tokens: {parity.greedy_identical} go on as in PyTorch; "
        f"log-probabilities differ by at most {parity.log_prob_difference:.2g}; loss {parity.loss_bundle:.4f}, "
        f"PyTorch's {parity.loss_torch:.4f}; {parity.bits_per_byte:.4f} bits a byte"
    )
    messages.note(f"Done. Generate with: heed generate -m {shlex.quote(str(output))} PROMPT")


def _read_template(path: str) -> "ChatTemplate":
    from heed.models.spec.config import defaults, from_table
    from heed.models.text.chat import ChatTemplate

    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: no TOML ({error}); mend it") from None
    return from_table(ChatTemplate, defaults(ChatTemplate) | table, path)
