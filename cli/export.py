"""`heed export`."""

import shlex
from pathlib import Path

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.models.errors import HeedError
from heed.models.files import refuse_existing


@click.command(
    cls=Command,
    extra="train",
    sections={
        "The bundle": ("output", "precision", "force"),
        "Its quality": ("test_src", "test_tgt"),
        "Its card": ("name", "licence", "trained_on"),
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
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Of matrix products. int8 is smaller and faster on a CPU, float16 on a GPU; a test set tells the price.",
)
@click.option("--test-src", multiple=True, type=options.TEXT_FILE, help="Test set to measure BLEU and chrF on.")
@click.option("--test-tgt", multiple=True, type=options.TEXT_FILE, help="Its translation.")
@click.option("--name", help="Of the model.  [default: the name of the directory]")
@click.option("--licence", default="", help="Of the model, for its card.")
@click.option("--trained-on", default="", help="The training text and whom to credit for it, for the card.")
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
    force: bool,
) -> None:
    """Turn a training run into a verified ONNX bundle.

    \b
    heed export runs/ende -o ende
    heed export runs/ende -o ende --precision int8 \\
        --test-src test.en --test-tgt test.de

    Takes the checkpoint with the best validation BLEU, writes its graphs, and compares their results in ONNX Runtime
    with PyTorch's on the run's validation sentences. A bundle that differs is not written.
    """
    if len(test_src) != len(test_tgt):
        raise click.UsageError("--test-src and --test-tgt go together, file by file.")
    refuse_existing(output, force=force)
    if output.exists() and not (output / "heed.json").is_file():
        raise HeedError(f"{output}: is no heed model, and --force replaces nothing else; choose another name")
    from heed.export.exporter import Label, export
    from heed.transformer.corpus import read_pairs
    from heed.transformer.run import TranslationRun

    opened = TranslationRun.open(run)
    test = (
        (", ".join(Path(path).name for path in test_src), read_pairs(test_src, test_tgt))
        if test_src or test_tgt
        else None
    )
    label = Label(name=name or output.absolute().name, licence=licence, trained_on=trained_on)
    messages.note("Writing the graphs and comparing them with PyTorch")
    manifest = export(opened, output, precision=precision, label=label, test=test, force=force)
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
