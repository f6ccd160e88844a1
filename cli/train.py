"""`heed train`."""

import contextlib
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

import click

from heed.cli import options
from heed.models.config import PRESETS, ModelConfig, defaults, from_table, preset
from heed.models.errors import ModelError
from heed.models.files import refuse_existing

if TYPE_CHECKING:
    from heed.transformer.corpus import Corpus
    from heed.transformer.run import Run
    from heed.transformer.trainer import Trainer

NETWORK = ("n_layers", "d_model", "d_ff", "n_heads", "dropout", "norm", "tied_embeddings")


@click.command(epilog="Example: heed train --src train.en --tgt train.de --preset small --minutes 60 -o runs/ende")
@click.option(
    "--src",
    multiple=True,
    type=options.TEXT_FILE,
    help="Source text, a sentence a line (.gz too). Repeat for more files.",
)
@click.option("--tgt", multiple=True, type=options.TEXT_FILE, help="Its translation, line by line.")
@click.option("--valid-src", multiple=True, type=options.TEXT_FILE, help="Validation text.  [default: pairs held out]")
@click.option("--valid-tgt", multiple=True, type=options.TEXT_FILE, help="Its translation.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the run, to be made.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with this run, from its last checkpoint.",
)
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(PRESETS),
    help="Network and training settings; the options below change them.  [default: small]",
)
@click.option("--config", type=click.Path(path_type=Path), help="Repeat an earlier run by its config.toml.")
@click.option("--src-language", default="", help="What the model card calls the source: en.")
@click.option("--tgt-language", default="", help="And the target: de.")
@click.option("--n-layers", type=int, help="Layers of the encoder, and of the decoder.")
@click.option("--d-model", type=int, help="Width.")
@click.option("--d-ff", type=int, help="Inner width of the feed-forward sub-layers.")
@click.option("--n-heads", type=int, help="Attention heads.")
@click.option("--dropout", type=float, help="Share of activations dropped.")
@click.option("--norm", type=click.Choice(["post", "pre"]), help="Layer norm after each residual, or before.")
@click.option(
    "--tied/--untied",
    "tied_embeddings",
    default=None,
    help="Share one matrix among source, target and output.",
)
@click.option(
    "--tokenizer",
    multiple=True,
    type=options.TEXT_FILE,
    help="SentencePiece model to use. Twice: source, target.",
)
@click.option("--joint/--separate", "joint", default=None, help="Learn one vocabulary, or one for each side.")
@click.option("--vocab-size", type=int, help="Pieces to learn.")
@click.option("--batch-tokens", type=int, help="Tokens a batch and side.")
@click.option("--max-length", type=int, help="Leave out pairs with more tokens on a side.")
@click.option("--warmup", type=int, help="Steps of rising learning rate.")
@click.option("--learning-rate-scale", type=float, help="Times the paper's schedule.")
@click.option("--label-smoothing", type=float, help="Share of the loss spread over all tokens.")
@click.option("--precision", type=click.Choice(["auto", "bfloat16", "float32"]), help="Of matrix products.")
@click.option("--steps", type=int, help="Stop after this many steps.")
@click.option("--epochs", type=int, help="Stop after this many passes over the text.")
@click.option("--minutes", type=float, help="Stop after this long.")
@click.option("--valid-every", type=int, help="Steps between validations; each makes a checkpoint.")
@click.option("--average", type=int, help="Checkpoints to keep, and to average at the end.")
@click.option("--seed", type=int, help="Of weights, dropout and order.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, or auto: cuda where there is one.",
)
@options.threads
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: Path | None,
    resume: Path | None,
    device: str,
    threads: int | None,
    preset_name: str | None,
    config: Path | None,
    **asked: object,
) -> None:
    """Train a Transformer on pairs of text files.

    Learns a vocabulary, trains, validates, and keeps the last checkpoints and the best in the run's directory.
    Ctrl-C saves a checkpoint and says how to go on. --config RUN/config.toml repeats a run.
    """
    given = {name: value for name, value in asked.items() if value not in (None, (), "")}
    if resume is not None:
        if output or config or preset_name or given:
            raise click.UsageError("--resume goes on with what the run was asked; give it only --device and --threads.")
        run, corpus = _open(resume)
    else:
        if output is None or not (config or {"src", "tgt"} <= given.keys()):
            raise click.UsageError("Give --src, --tgt and -o, or --resume RUN.")
        refuse_existing(
            output,
            force=False,
            way_out=f"choose another name, or go on: heed train --resume {shlex.quote(str(output))}",
        )
        _require_device(device)
        run, corpus = _create(output, _settings(preset_name, config), given)
    finished = _train(run, corpus, device, threads)
    if finished:
        click.echo(f"Done. Export it with: heed export {shlex.quote(str(run.path))} -o MODEL", err=True)
    else:
        click.echo(f"Stopped. Go on with: heed train --resume {shlex.quote(str(run.path))}", err=True)
        ctx.exit(130)


def _require_device(name: str) -> None:
    """Refuse a device that is not there, before anything is written."""
    from heed.transformer.trainer import choose_device

    choose_device(name)


def _settings(preset_name: str | None, config: Path | None) -> dict[str, dict[str, object]]:
    """The tables of a preset, or of an earlier run's config.toml."""
    if config is None:
        return preset(preset_name or "small")
    if preset_name is not None:
        raise click.UsageError("--preset and --config exclude each other.")
    from heed.transformer.run import read_config

    return read_config(config)


def _create(path: Path, settings: dict[str, dict[str, object]], given: dict[str, object]) -> "tuple[Run, Corpus]":
    from heed.transformer.config import TrainConfig
    from heed.transformer.preparation import new_run

    network = settings["model"] | {name: value for name, value in given.items() if name in NETWORK}
    training = {**settings["train"]}
    limits = {"steps", "epochs", "minutes"}
    if limits & given.keys():  # the user's own limits are the only ones
        training = {name: value for name, value in training.items() if name not in limits}
    training |= {name: _absolute(value) for name, value in given.items() if name not in NETWORK}
    given_tokenizers = cast("tuple[str, ...]", training.get("tokenizer", ()))
    if given.get("tied_embeddings") and (training.get("joint") is False or len(given_tokenizers) == 2):
        raise click.UsageError("--tied needs one vocabulary; leave out --separate or the second --tokenizer.")
    try:  # before hours of work; the vocabulary's size comes with it
        from_table(ModelConfig, defaults(ModelConfig) | network, "heed train")
        config = from_table(TrainConfig, defaults(TrainConfig) | training, "heed train")
    except ModelError as error:
        raise click.UsageError(str(error)) from None
    click.echo("Reading the text", err=True)
    return new_run(path, network, config)


def _open(path: Path) -> "tuple[Run, Corpus]":
    from heed.transformer.preparation import load_corpus
    from heed.transformer.run import Run

    run = Run.open(path)
    click.echo("Reading the text", err=True)
    return run, load_corpus(run)


def _absolute(value: object) -> object:
    """Files by their full names, so that the run can go on from any directory."""
    return tuple(str(Path(name).absolute()) for name in value) if isinstance(value, tuple) else value


def _train(run: "Run", corpus: "Corpus", device_name: str, threads: int | None) -> bool:
    import torch
    from rich.console import Console

    from heed.cli.progress import TrainProgress
    from heed.models.processors import available_cores
    from heed.transformer.log import RunLog
    from heed.transformer.preparation import batches
    from heed.transformer.trainer import Trainer, choose_device

    torch.set_num_threads(threads or available_cores())
    device = choose_device(device_name)
    with RunLog(run.path) as log, TrainProgress(Console(stderr=True)) as progress:
        trainer = Trainer(run, batches(run, corpus), device, (log, progress))
        facts = {
            "pairs": len(corpus),
            "left_out_empty": corpus.n_empty,
            "left_out_long": corpus.n_long,
            "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
            "vocabulary": len(run.tgt_tokenizer),
            "device": str(device),
            "precision": str(trainer.precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "step": trainer.progress.step,
        }
        log.on_start(**facts)
        progress.on_start(**facts)
        with _stopped_by_signal(trainer):
            return trainer.train()


@contextlib.contextmanager
def _stopped_by_signal(trainer: "Trainer") -> Iterator[None]:
    """The first Ctrl-C ends training after the present step; a second one ends the program."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        trainer.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
