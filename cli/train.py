"""`heed train`."""

import contextlib
import dataclasses
import shlex
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.models.config import (
    TEXT_PRESETS,
    TRANSLATION_PRESETS,
    Config,
    DataclassInstance,
    LanguageModelConfig,
    ModelConfig,
    defaults,
    from_table,
    preset,
)
from heed.models.errors import ModelError
from heed.models.files import refuse_existing

if TYPE_CHECKING:
    from heed.transformer.batches import Batches
    from heed.transformer.initial import Initial
    from heed.transformer.packing import Packing
    from heed.transformer.run import Run
    from heed.transformer.trainer import Trainer

HEAD_MULTIPLE = 16  # of what ONNX Runtime's operator for attention takes
Table = dict[str, object]


SECTIONS = {
    "Text to translate": ("src", "tgt", "valid_src", "valid_tgt", "src_language", "tgt_language"),
    "Text to go on with": ("text", "pairs", "valid_text", "valid_pairs", "text_field"),
    "The run": ("output", "resume", "preset_name", "init_from", "config"),
    "Network": ("n_layers", "d_model", "d_ff", "n_heads", "dropout", "norm"),
    "Network that translates": ("tied_embeddings",),
    "Network that goes on with text": ("n_kv_heads", "positions", "activation", "context"),
    "Vocabulary": ("tokenizer", "joint", "vocab_size"),
    "Batches and optimizer": ("batch_tokens", "warmup", "precision", "seed"),
    "To translate": ("max_length", "learning_rate_scale", "label_smoothing"),
    "To go on with text": ("learning_rate", "weight_decay"),
    "When to stop, to validate and what to keep": ("steps", "epochs", "minutes", "valid_every", "average"),
    "Running": ("device", "threads"),
}  # fmt: skip


@click.command(cls=Command, extra="train", sections=SECTIONS)
@click.option(
    "--src",
    multiple=True,
    type=options.TEXT_FILE,
    help="Source text, a sentence a line (.gz too). Repeat for more files.",
)
@click.option("--tgt", multiple=True, type=options.TEXT_FILE, help="Its translation, line by line.")
@click.option("--valid-src", multiple=True, type=options.TEXT_FILE, help="Validation text.  [default: pairs held out]")
@click.option("--valid-tgt", multiple=True, type=options.TEXT_FILE, help="Its translation.")
@click.option(
    "--text",
    multiple=True,
    type=options.TEXT_FILE,
    help="Text to learn to go on with: a file is one text, a line of a .jsonl another (.gz too). Repeat for more.",
)
@click.option(
    "--pairs",
    multiple=True,
    type=options.TEXT_FILE,
    help="A .jsonl of prompts and completions, of which the completions are learnt.",
)
@click.option("--valid-text", multiple=True, type=options.TEXT_FILE, help="Validation text.  [default: 5% held out]")
@click.option("--valid-pairs", multiple=True, type=options.TEXT_FILE, help="Validation prompts and completions.")
@click.option("--text-field", help="Field of a .jsonl that holds the text.  [default: text]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the run, to be made.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with this run, from its last checkpoint.",
)
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice([*TRANSLATION_PRESETS, *TEXT_PRESETS]),
    help="Network and training settings; the options below change them.  [default: small; for text gpt-tiny]",
)
@click.option(
    "--init-from",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="Begin with the weights and the vocabulary of a run or a bundle.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Repeat an earlier run by its config.toml.")
@click.option("--src-language", default="", help="What the model card calls the source: en.")
@click.option("--tgt-language", default="", help="And the target: de.")
@click.option("--n-layers", type=int, help="Layers, of the encoder and of the decoder.")
@click.option("--d-model", type=int, help="Width.")
@click.option("--d-ff", type=int, help="Inner width of the feed-forward sub-layers.")
@click.option("--n-heads", type=int, help="Attention heads.")
@click.option("--dropout", type=float, help="Share of activations dropped.")
@click.option("--n-kv-heads", type=int, help="Heads of keys and values, each for a group of attention heads.")
@click.option(
    "--norm",
    type=click.Choice(["post", "pre", "layer", "rms"]),
    help="To translate: layer norm after each residual, or before. For text: layer norm or RMS norm.",
)
@click.option("--positions", type=click.Choice(["learned", "rotary"]), help="How a token's position is known.")
@click.option("--activation", type=click.Choice(["gelu", "swiglu"]), help="Of the feed-forward sub-layers.")
@click.option("--context", type=int, help="Tokens that the network sees at a time.")
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
@click.option("--learning-rate", type=float, help="At the end of the warm-up; it falls to a tenth.")
@click.option("--weight-decay", type=float, help="Of matrices, by AdamW.")
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
    """Train a Transformer to translate, or to go on with text.

    \b
    heed train --src train.en --tgt train.de --minutes 60 -o runs/ende
    heed train --text novel.txt --minutes 30 -o runs/novel
    heed train --init-from runs/novel --pairs answers.jsonl -o runs/answers
    heed train --resume runs/ende

    Learns a vocabulary, trains, validates, and keeps the last checkpoints and the best in the run's directory.
    Ctrl-C saves a checkpoint and says how to go on. --config RUN/config.toml repeats a run.
    """
    given = {name: value for name, value in asked.items() if value not in (None, (), "")}
    if resume is not None:
        if output or config or preset_name or given:
            raise click.UsageError("--resume goes on with what the run was asked; give it only --device and --threads.")
        run, batches = _open(resume)
    else:
        if output is None or not (config or {"src", "tgt"} <= given.keys() or {"text", "pairs"} & given.keys()):
            raise click.UsageError("Give -o with --src and --tgt, --text or --pairs; or --resume RUN.")
        if config and preset_name:
            raise click.UsageError("--preset and --config exclude each other.")
        refuse_existing(
            output,
            force=False,
            way_out=f"choose another name, or go on: heed train --resume {shlex.quote(str(output))}",
        )
        _require_device(device)
        run, batches = _create(output, preset_name, config, given)
    finished = _train(run, batches, device, threads)
    if finished:
        messages.note(f"Done. Export it with: heed export {shlex.quote(str(run.path))} -o MODEL")
    else:
        messages.note(f"Stopped. Go on with: heed train --resume {shlex.quote(str(run.path))}")
        ctx.exit(130)


def _require_device(name: str) -> None:
    """Refuse a device that is not there, before anything is written."""
    from heed.transformer.trainer import choose_device

    choose_device(name)


def _create(
    path: Path, preset_name: str | None, config: Path | None, given: Table
) -> "tuple[Run[Any, Any], Batches | Packing]":
    """Make a run of what a preset or an earlier run's config.toml says, as changed by options."""
    from heed.transformer.run import TextRun, TranslationRun, read_config

    if config:
        kind, network, training = read_config(config)
    else:
        of_text = preset_name in TEXT_PRESETS if preset_name else bool({"text", "pairs"} & given.keys())
        kind = (TextRun if of_text else TranslationRun).kind
        tables = preset(preset_name or ("gpt-tiny" if of_text else "small"))
        network, training = tables["model"], tables["train"]
    limits = {"steps", "epochs", "minutes"}
    if limits & given.keys():  # the user's own limits are the only ones
        training = {name: value for name, value in training.items() if name not in limits}
    initial = _initial(given.get("init_from") or training.get("init_from"), kind, given)
    if initial:
        dropout = {"dropout": network["dropout"]} if config else {}  # all else of a network is in its weights
        network = initial.network | dropout
        training = initial.languages | training | {"tokenizer": initial.tokenizer}
    make = _create_text if kind == TextRun.kind else _create_translation
    return make(path, network, training, given, initial)


def _initial(source: object, kind: str, given: Table) -> "Initial | None":
    """The network to begin with."""
    if not source:
        return None
    fixed = {field.name for config in (ModelConfig, LanguageModelConfig) for field in dataclasses.fields(config)}
    fixed = (fixed | {"tokenizer", "vocab_size", "joint"}) - {"dropout"}
    if wrong := fixed & given.keys():
        raise click.UsageError(f"--init-from decides {_options(wrong)}; leave that out.")
    initial = _read_initial(Path(str(source)))
    if initial.kind != kind:
        raise click.UsageError(f"--init-from: {source} is of kind {initial.kind}, and this run of kind {kind}.")
    return initial


def _read_initial(path: Path) -> "Initial":
    if (path / "heed.json").is_file():
        from heed.export.importing import from_bundle

        return from_bundle(path)
    from heed.transformer.initial import from_run

    return from_run(path)


def _create_translation(
    path: Path, network: Table, training: Table, given: Table, initial: "Initial | None"
) -> "tuple[Run[Any, Any], Batches]":
    from heed.transformer import preparation
    from heed.transformer.config import TranslationConfig

    if given.get("joint") and training.get("joint") is False:  # then it was that which kept matrices apart
        network = network | {"tied_embeddings": True}
    network, training = _asked(network, training, given, ModelConfig, TranslationConfig)
    given_tokenizers = cast("tuple[str, ...]", training.get("tokenizer", ()))
    if given.get("tied_embeddings") and (training.get("joint") is False or len(given_tokenizers) == 2):
        raise click.UsageError("--tied needs one vocabulary; leave out --separate or the second --tokenizer.")
    config = _config(TranslationConfig, training)
    messages.note("Reading the text")
    run, corpus = preparation.new_run(path, network, config, initial)
    return run, preparation.batches(run, corpus)


def _create_text(
    path: Path, network: Table, training: Table, given: Table, initial: "Initial | None"
) -> "tuple[Run[Any, Any], Packing]":
    from heed.transformer import text_preparation
    from heed.transformer.config import TextConfig

    network, training = _asked(network, training, given, LanguageModelConfig, TextConfig)
    d_head = _config(LanguageModelConfig, network).d_head
    if d_head % HEAD_MULTIPLE:
        raise click.UsageError(
            f"--d-model over --n-heads must be a multiple of {HEAD_MULTIPLE}, not {d_head}: the export needs that."
        )
    config = _config(TextConfig, training)
    messages.note("Reading the text")
    return text_preparation.new_text_run(path, network, config, initial)


def _asked(
    network: Table, training: Table, given: Table, model: type[DataclassInstance], train: type[DataclassInstance]
) -> tuple[Table, Table]:
    """The tables as changed by options, which must be of this kind of run; the network's is checked."""
    asked = {field.name for field in dataclasses.fields(train)}
    fixed = {field.name for field in dataclasses.fields(model)} - asked  # the vocabulary's size is asked of training
    if stray := given.keys() - asked - fixed:
        raise click.UsageError(f"{_options(stray)}: not for this kind of network.")
    network = network | {name: value for name, value in given.items() if name in fixed}
    training = training | {name: _absolute(value) for name, value in given.items() if name in asked}
    if training.get("tokenizer") and (decided := {"vocab_size", "joint"} & given.keys()):
        raise click.UsageError(f"--tokenizer decides {_options(decided)}; leave that out.")
    _config(model, network)  # before hours of work; the vocabulary's size comes with it
    return network, training


def _config(kind: type[Config], table: Table) -> Config:
    try:
        return from_table(kind, defaults(kind) | table, "heed train")
    except ModelError as error:
        raise click.UsageError(str(error)) from None


def _options(names: Iterable[str]) -> str:
    """Names of settings, as options."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))


def _open(path: Path) -> "tuple[Run[Any, Any], Batches | Packing]":
    from heed.transformer import preparation, text_preparation
    from heed.transformer.run import TextRun, open_run

    run = open_run(path)
    messages.note("Reading the text")
    if isinstance(run, TextRun):
        return run, text_preparation.load_text(run)
    return run, preparation.batches(run, preparation.load_corpus(run))


def _absolute(value: object) -> object:
    """Files by their full names, so that the run can go on from any directory."""
    return tuple(str(Path(name).absolute()) for name in value) if isinstance(value, tuple) else value


def _train(run: "Run[Any, Any]", batches: "Batches | Packing", device_name: str, threads: int | None) -> bool:
    import torch

    from heed.cli.progress import TrainProgress
    from heed.models.processors import available_cores
    from heed.transformer.log import RunLog
    from heed.transformer.memory import keep_freed_memory
    from heed.transformer.trainer import Trainer, choose_device

    keep_freed_memory()
    torch.set_num_threads(threads or available_cores())
    device = choose_device(device_name)
    with RunLog(run.path) as log, TrainProgress(messages.console()) as progress:
        trainer: Trainer[Any] = Trainer(run, cast("Any", batches), device, (log, progress))
        facts = {
            **batches.facts,
            "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
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
def _stopped_by_signal(trainer: "Trainer[Any]") -> Iterator[None]:
    """The first Ctrl-C ends training after the present step; a second one ends the program."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        trainer.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
