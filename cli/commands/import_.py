"""`heed import`."""

import shlex
from pathlib import Path

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.models.errors import HeedError
from heed.models.system.files import refuse_existing


@click.command(
    "import",
    cls=Command,
    extra="import",
    sections={
        "The bundle": ("output", "precision", "force"),
        "A model that translates": ("src_language", "tgt_language", "prefix"),
        "Model card": ("name", "licence", "trained_on"),
    },
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory of the bundle.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8", "int4"]),
    default="float32",
    show_default=True,
    help="Of matrix products. int8, and for a model of text int4, is smaller and faster on a CPU, float16 on a GPU.",
)
@click.option("--from", "src_language", default="", help="Source language, where the model knows several: de, deu.")
@click.option("--to", "tgt_language", default="", help="Target language, where the model knows several.")
@click.option("--prefix", help="Text that each source begins with, or a task that the model names: summarization.")
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
    RoBERTa, XLM-RoBERTa or DistilBERT, or a .gguf file of Llama's form. heed compares the bundle with the network in
    PyTorch, and writes none that differs. It never runs code that comes with a model.
    """
    refuse_existing(output, force=force)
    if output.exists() and not (output / "heed.json").is_file():
        raise HeedError(f"{output}: not a heed model, and --force replaces nothing else; choose another name")
    from heed.export.importers.importer import import_model
    from heed.export.label import Label
    from heed.export.proof.summary import summary
    from heed.models.tasks.task import TASKS

    messages.note("Reading the model, writing the graphs and comparing them with PyTorch")
    manifest = import_model(
        path,
        output,
        precision=precision,
        label=Label(name=name or output.absolute().name, licence=licence, trained_on=trained_on),
        languages=(src_language, tgt_language),
        prefix=prefix,
        force=force,
    )
    for line in summary(manifest):
        messages.note(line)
    use = f"heed {manifest.task} -m {shlex.quote(str(output))} {TASKS[manifest.task].example}".rstrip()
    messages.note(f"Done. Use it with: {use}")
