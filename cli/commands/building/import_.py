"""`heed import`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.locations import InputPath, OutputPath
from heed.models.errors import HeedError
from heed.models.system.files import refuse_existing

if TYPE_CHECKING:
    from heed.models.bundle.manifest import Manifest

PRECISION = click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8", "int4"]),
    default="float32",
    show_default=True,
    help="Precision of matrix products: int8 is smaller and faster on a CPU, int4 (language models) still smaller, "
    "float16 is for a GPU.",
)
SRC_LANGUAGE = click.option(
    "--from", "src_language", default="", help="Source language, where the model knows several: de, deu."
)
TGT_LANGUAGE = click.option("--to", "tgt_language", default="", help="Target language, where the model knows several.")
PREFIX = click.option("--prefix", help="Text before each source, such as 'translate English to German: '.")
TASK = click.option("--task", help="Task from the model's files, such as summarize: sets its prefix and lengths.")


@click.command(
    "import",
    cls=Command,
    extra="import",
    sections={
        "The bundle": ("output", "precision", "force"),
        "A model that translates": ("src_language", "tgt_language", "prefix", "task"),
        "Model card": ("name", "licence", "trained_on"),
    },
)
@click.argument("path", type=InputPath(path_type=Path))
@click.option("-o", "--output", required=True, type=OutputPath(path_type=Path), help="Directory of the bundle.")
@PRECISION
@SRC_LANGUAGE
@TGT_LANGUAGE
@PREFIX
@TASK
@click.option("--name", help="Name of the model.  [default: the name of the directory]")
@click.option("--licence", default="", help="Licence of the model.")
@click.option("--trained-on", default="", help="Training text and its credits.")
@options.force
def command(
    path: Path,
    output: Path,
    precision: str,
    src_language: str,
    tgt_language: str,
    prefix: str | None,
    task: str | None,
    name: str | None,
    licence: str,
    trained_on: str,
    force: bool,
) -> None:
    """Make a bundle of another toolkit's model.

    \b
    heed import opus-mt-en-de -o en-de --precision int8
    heed import nllb-200-distilled-600M -o nllb --from en --to de
    heed import SmolLM2-135M-Instruct -o smol --precision int4

    PATH is a directory in the layout of Hugging Face (config.json, .safetensors or pytorch_model.bin, a tokenizer's
    files) of the families Marian, M2M100, NLLB, BART, mBART-50, T5, GPT-2, Llama, Mistral, Qwen2, Qwen3, BERT,
    RoBERTa, XLM-RoBERTa or DistilBERT; a directory of a Bergamot student, with which Firefox translates (Marian's .bin
    and .spm); or a .gguf file of Llama's form. heed compares the bundle with the network in PyTorch, and writes none
    that differs. It never runs code that comes with a model.
    """
    refuse_existing(output, force=force)
    if output.exists() and not (output / "heed.json").is_file():
        raise HeedError(f"{output}: not a heed model, and --force replaces nothing else; choose another name")
    from heed.export.importers.importer import import_model
    from heed.export.model_details import ModelDetails

    messages.note("Reading the model, writing the graphs and comparing them with PyTorch")
    manifest = import_model(
        path,
        output,
        precision=precision,
        details=ModelDetails(name=name or output.absolute().name, licence=licence, trained_on=trained_on),
        languages=(src_language, tgt_language),
        prefix=prefix,
        task=task,
        force=force,
    )
    report(manifest, shlex.quote(str(output)))


def report(manifest: "Manifest", model: str) -> None:
    """Tell how a bundle compares with the original, and how to use it."""
    from heed.export.proof.summary import summary
    from heed.models.tasks.task import TASKS

    for line in summary(manifest):
        messages.note(line)
    use = f"heed {manifest.task} -m {model} {TASKS[manifest.task].example}".rstrip()
    messages.note(f"Done. Use it with: {use}")
