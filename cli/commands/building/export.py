"""`heed export`."""

import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.locations import InputPath, OutputPath
from heed.models.errors import DataError, HeedError
from heed.models.system.files import refuse_existing

if TYPE_CHECKING:
    from heed.models.bundle.manifest import Manifest
    from heed.models.text.chat import ChatTemplate
    from heed.transformer.data.text.parallel_text import ParallelText


@click.command(
    cls=Command,
    extra="train",
    sections={
        "The bundle": ("output", "precision", "force"),
        "Quality": ("test_src", "test_tgt"),
        "Model card": ("name", "licence", "trained_on"),
        "Language models": ("chat_template",),
    },
)
@click.argument("run", type=InputPath(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=OutputPath(path_type=Path),
    help="Directory of the bundle; must not exist.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8", "int4"]),
    default="float32",
    show_default=True,
    help="Precision of matrix products: int8 is smaller and faster on a CPU, int4 (language models) still smaller, "
    "float16 is for a GPU.",
)
@click.option("--test-src", multiple=True, type=options.TEXT_FILE, help="Source side of a test set for BLEU and chrF.")
@click.option("--test-tgt", multiple=True, type=options.TEXT_FILE, help="Target side of the test set.")
@click.option("--name", help="Name of the model.  [default: the name of the directory]")
@click.option("--licence", default="", help="Licence of the model.")
@click.option("--trained-on", default="", help="Training text and its credits.")
@click.option(
    "--chat-template",
    type=options.TEXT_FILE,
    help="Chat template of the training conversations, a .toml.",
)
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

    Takes the checkpoint with the best validation BLEU (language models: the lowest loss), writes its graphs, and
    compares ONNX Runtime with PyTorch on the run's validation text. If they differ, no bundle is written.
    """
    if len(test_src) != len(test_tgt):
        raise click.UsageError("--test-src and --test-tgt must be given together, with the same number of files.")
    refuse_existing(output, force=force)
    if output.exists() and not (output / "heed.json").is_file():
        raise HeedError(f"{output}: not a heed model, and --force replaces nothing else; choose another name")
    from heed.export.exporter import export
    from heed.export.model_details import ModelDetails
    from heed.export.tasks import TASKS
    from heed.models.tasks.task import TASKS as MODEL_TASKS
    from heed.transformer.training.runs.run import open_run

    opened = open_run(run)
    given = {"test_src": test_src, "test_tgt": test_tgt, "chat_template": chat_template}
    for option, value in given.items():
        if value and opened.task in TASKS and option not in TASKS[opened.task].options:
            raise click.UsageError(f"--{option.replace('_', '-')} is for another task: {run} learns to {opened.task}.")
    details = ModelDetails(name=name or output.absolute().name, licence=licence, trained_on=trained_on)
    template = _read_template(chat_template) if chat_template else None
    test = _read_test(test_src, test_tgt) if test_src else None
    messages.note("Writing the graphs and comparing them with PyTorch")
    manifest = export(
        opened, output, precision=precision, details=details, test=test, chat_template=template, force=force
    )
    _report(manifest)
    use = f"heed {manifest.task} -m {shlex.quote(str(output))} {MODEL_TASKS[manifest.task].example}".rstrip()
    messages.note(f"Done. Next: {use}")


def _read_test(src: tuple[str, ...], tgt: tuple[str, ...]) -> "tuple[str, ParallelText]":
    """The name and the pairs of a test set."""
    from heed.transformer.data.text.parallel_text import read_pairs

    return ", ".join(Path(path).name for path in src), read_pairs(src, tgt)


def _report(manifest: "Manifest") -> None:
    from heed.export.proof.summary import summary

    for line in summary(manifest):
        messages.note(line)
    if quality := manifest.quality:
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
        raise DataError(f"{path}: not TOML ({error}); correct it") from None
    return from_table(ChatTemplate, defaults(ChatTemplate) | table, path)
