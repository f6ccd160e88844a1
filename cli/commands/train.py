"""`heed train`."""

import contextlib
import shlex
import signal
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.signals import ENDING
from heed.cli.new_run import Wish, create, refuse_changes, settled
from heed.models.errors import ModelError
from heed.models.runs.settings import LIMITS
from heed.models.spec.options import PATHS
from heed.models.spec.positions import PositionSpec
from heed.models.spec.preset import TEXT_PRESETS, TRANSLATION_PRESETS
from heed.models.spec.stack import ACTIVATIONS, NORMS, PLACEMENTS
from heed.models.spec.tables import to_table
from heed.models.system.files import refuse_existing

if TYPE_CHECKING:
    from heed.transformer.training.distributed import Processes
    from heed.transformer.training.engine import Engine
    from heed.transformer.training.runs.run import Run
    from heed.transformer.training.tasks import AnyBatches
    from heed.transformer.training.trainer import Trainer

# What --norm meant in heed 0.1, where it said one thing to translate and another to continue text.
NORM_ALIASES = {
    "post": ("norm_placement", "after"),
    "pre": ("norm_placement", "before"),
    "layer": ("norm_kind", "layer"),
    "rms": ("norm_kind", "rms"),
}
SECTIONS = {
    "Text to translate": ("src", "tgt", "data", "valid_src", "valid_tgt", "src_language", "tgt_language"),
    "Pairs to leave out": ("max_length", "max_ratio", "deduplicate"),
    "Text to continue": ("text", "pairs", "valid_text", "valid_pairs", "text_field"),
    "The run": ("output", "resume", "preset_name", "init_from", "config"),
    "Network": ("n_layers", "encoder_layers", "decoder_layers", "d_model", "d_ff", "dropout", "tied"),
    "Attention": ("n_heads", "n_kv_heads", "d_head", "positions", "context"),
    "Layers": ("activation", "gated", "norm_kind", "norm_placement", "biases"),
    "Vocabulary": ("tokenizer", "extend_vocabulary", "joint", "vocab_size", "src_normalization", "tgt_normalization"),
    "Batches and optimizer": ("batch_tokens", "warmup", "precision", "seed"),
    "To translate": ("subword_sampling", "copy_augment", "case_augment", "learning_rate_scale", "label_smoothing"),
    "To continue text": ("learning_rate", "weight_decay"),
    "When to stop and to validate": ("steps", "epochs", "minutes", "patience", "valid_every"),
    "What to keep": ("average", "ema", "keep", "keep_best", "best_by"),
    "Running": ("device", "threads", "cache", "accumulate", "sharded", "dry_run"),
}  # fmt: skip


@click.command(cls=Command, extra="train", sections=SECTIONS)
@click.option(
    "--src",
    multiple=True,
    type=options.TEXT_FILE,
    help="Source text, a sentence a line (.gz, .zst too). Repeat for more files.",
)
@click.option("--tgt", multiple=True, type=options.TEXT_FILE, help="Its translation, line by line.")
@click.option(
    "--data",
    multiple=True,
    type=options.PAIRS,
    help="Pairs with a weight: FILE.tsv, FILE.jsonl or SOURCE,TARGET, then :2 for twice an epoch. Repeat for more.",
)
@click.option("--valid-src", multiple=True, type=options.TEXT_FILE, help="Validation text.  [default: pairs held out]")
@click.option("--valid-tgt", multiple=True, type=options.TEXT_FILE, help="Its translation.")
@click.option(
    "--text",
    multiple=True,
    type=options.TEXT_FILE,
    help="Text to continue: a file is one text, a line of a .jsonl another (.gz, .zst too). Repeat for more.",
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
    help="Go on with this run, from its last checkpoint; with the options of a new run, begin it if there is none.",
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
@click.option("--n-layers", type=int, help="Layers of each stack.")
@click.option("--encoder-layers", type=int, help="Layers of the encoder alone.")
@click.option("--decoder-layers", type=int, help="Layers of the decoder alone; few of them decode fast.")
@click.option("--d-model", type=int, help="Width.")
@click.option("--d-ff", type=int, help="Inner width of the feed-forward sub-layers.")
@click.option("--n-heads", type=int, help="Attention heads.")
@click.option("--dropout", type=float, help="Share of activations dropped.")
@click.option("--n-kv-heads", type=int, help="Heads of keys and values, each for a group of attention heads.")
@click.option("--d-head", type=int, help="Width of a head.  [default: --d-model over --n-heads]")
@click.option(
    "--positions",
    type=click.Choice([kind.kind for kind in typing.get_args(PositionSpec)]),
    help="How a token's position is known.",
)
@click.option("--context", type=int, help="Tokens that fit, for learned and rotary positions.")
@click.option(
    "--activation",
    type=click.Choice([*(name.replace("_", "-") for name in ACTIVATIONS), "swiglu"]),
    help="Of the feed-forward sub-layers; swiglu is silu with --gated.",
)
@click.option("--gated/--ungated", default=None, help="Multiply the activation by a second projection, or not.")
@click.option("--norm-kind", type=click.Choice(NORMS), help="Layer norm or RMS norm.")
@click.option("--norm-placement", type=click.Choice(PLACEMENTS), help="After each residual connection, or before.")
@click.option("--norm", type=click.Choice(list(NORM_ALIASES)), hidden=True)
@click.option("--biases/--no-biases", default=None, help="Biases of all projections and norms, or none.")
@click.option(
    "--tied/--untied",
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
@click.option(
    "--extend-vocabulary",
    type=click.IntRange(min=1),
    help="Learn so many pieces of this text and add them to the vocabulary of --init-from or --tokenizer.",
)
@click.option(
    "--src-normalization",
    type=click.Choice(["nfkc", "nfc"]),
    help="What is done to source text: nfkc unites full-width and other forms, … and ...  [default: nfkc]",
)
@click.option(
    "--tgt-normalization",
    type=click.Choice(["nfkc", "nfc"]),
    help="What is done to target text: nfc leaves it as it is.  [default: nfc]",
)
@click.option("--batch-tokens", type=int, help="Tokens a batch and side.")
@click.option("--max-length", type=int, help="Leave out pairs with more tokens on a side.")
@click.option("--max-ratio", type=float, help="Leave out pairs of which a side has so many times the other's tokens.")
@click.option("--deduplicate/--keep-duplicates", default=None, help="Leave out pairs that have been before.")
@click.option(
    "--subword-sampling", type=float, help="Share of merges of subwords left out, drawn anew in each epoch: 0.1."
)
@click.option(
    "--copy-augment",
    type=float,
    help="Share of the pairs with the same name, number, address or code word on both sides that get another one: 0.5.",
)
@click.option("--case-augment", type=float, help="Share of the pairs in capitals, or with a title as source: 0.05.")
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
@click.option("--patience", type=int, help="Stop after so many validations in a row that bring nothing better.")
@click.option("--average", type=int, help="Last checkpoints to average at the end.")
@click.option("--ema", type=float, help="Judge and export a moving average of the weights, of this decay: 0.999.")
@click.option("--keep", type=int, help="Last checkpoints to keep.  [default: those to average]")
@click.option("--keep-best", type=int, help="Best checkpoints to keep beside them.  [default: 1]")
@click.option("--best-by", type=click.Choice(["bleu", "loss"]), help="What is best.  [default: bleu; for text loss]")
@click.option("--seed", type=int, help="Of weights, dropout and order.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, or auto: cuda where there is one.",
)
@options.threads
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of tokens and vocabularies, for several runs on one text.  [default: in the run]",
)
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Parts of a batch to compute one after another: less memory, the same result.",
)
@click.option("--sharded", is_flag=True, help="Part weights and moments among the processes of torchrun (FSDP).")
@click.option("--dry-run", is_flag=True, help="Say what training would take, and do nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: Path | None,
    resume: Path | None,
    preset_name: str | None,
    config: Path | None,
    device: str,
    threads: int | None,
    cache: Path | None,
    accumulate: int,
    sharded: bool,
    dry_run: bool,
    **asked: object,
) -> None:
    """Train a Transformer to translate, or to continue text.

    \b
    heed train --src train.en --tgt train.de --minutes 60 -o runs/ende
    heed train --text novel.txt --minutes 30 -o runs/novel
    heed train --init-from runs/novel --pairs answers.jsonl -o runs/answers
    heed train --resume runs/ende

    Learns a vocabulary, trains, validates, and keeps the last checkpoints and the best in the run's directory.
    Ctrl-C, SIGTERM and a closed terminal save a checkpoint first. --config RUN/config.toml repeats a run.
    """
    given = {name: value for name, value in asked.items() if value not in (None, (), "")}
    network = _network_options(given)
    given = {name: value for name, value in given.items() if name not in network and name != "norm"}
    wish = Wish(preset_name, config, network, given, cache, threads)
    if output and resume:
        raise click.UsageError("--resume goes on with what the run was asked, and where it is; leave out -o.")
    if config and preset_name:
        raise click.UsageError("--preset and --config exclude each other.")
    path, begins = output or resume, resume is None or not resume.exists()
    if path is None or (begins and not wish.names_text):
        if resume:
            raise ModelError(
                f"{resume}: no run of heed train (there is no config.toml); name the directory given to -o"
            )
        raise click.UsageError("Give -o with --src and --tgt, --data, --text or --pairs; or --resume RUN.")
    if begins:
        way_out = f"choose another name, or go on: heed train --resume {shlex.quote(str(path))}"
        refuse_existing(path, force=False, way_out=way_out)
    from heed.transformer.training.distributed import joined

    with joined() as processes:
        if not processes.is_first:
            ctx.meta[messages.KEY] = messages.QUIET
        engine = _engine(processes, device, threads, accumulate, sharded=sharded)
        if dry_run:
            _estimate(path, wish, engine, begins=begins)
            return
        run, batches = _prepare(path, wish, engine.processes, begins=begins)
        with _claimed(run, processes):
            ended_by = _train(run, batches, engine)
    quoted = shlex.quote(str(path))
    if ended_by is None:
        messages.note(f"Done. Export it with: heed export {quoted} -o MODEL")
    else:
        messages.note(f"Stopped. Go on with: heed train --resume {quoted}")
        ctx.exit(128 + ended_by)


def _network_options(given: Mapping[str, object]) -> dict[str, object]:
    """The options of the network, by the names of `heed.models.spec.options`."""
    found = {name: value for name, value in given.items() if name in PATHS}
    if "norm" in given:
        option, value = NORM_ALIASES[str(given["norm"])]
        messages.note(f"--norm {given['norm']} is now --{option.replace('_', '-')} {value}.")
        found.setdefault(option, value)
    if found.get("activation") == "swiglu":
        found = {"gated": True} | found | {"activation": "silu"}
    if "activation" in found:
        found["activation"] = str(found["activation"]).replace("-", "_")
    return found


def _engine(
    processes: "Processes", device_name: str, threads: int | None, accumulate: int, *, sharded: bool
) -> "Engine":
    """What to compute with; a device that is not there is refused before anything is written."""
    import torch

    from heed.models.system.processor import available_cores
    from heed.transformer.training.distributed import local_device, n_local
    from heed.transformer.training.engine import Engine, choose_device

    if sharded and processes.size == 1:
        raise click.UsageError("--sharded parts a network among processes; start several of them with torchrun.")
    torch.set_num_threads(threads or max(1, available_cores() // n_local()))
    device = choose_device(local_device(device_name))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return Engine(device, processes, sharded=sharded, accumulate=accumulate)


def _estimate(path: Path, wish: Wish, engine: "Engine", *, begins: bool) -> None:
    """Say on stdout what training would take."""
    from heed.transformer.training.estimate import estimate
    from heed.transformer.training.runs.run import open_run

    if begins:
        plan = settled(wish)
        found = estimate(plan.task, plan.network, plan.train, engine)
    else:
        run = open_run(path)
        refuse_changes(run, wish)
        found = estimate(run.task, to_table(run.spec), run.train, engine)
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name:<{width}}  {value}")


def _prepare(path: Path, wish: Wish, processes: "Processes", *, begins: bool) -> "tuple[Run[Any], AnyBatches]":
    """The run and its text; what is to be made, the first process makes for all."""
    made = None
    failed = True
    try:
        if processes.is_first:
            made = create(path, wish) if begins else _open(path, wish)
        failed = False
    finally:
        failed = processes.told(failed)
    if failed:  # the first one has said why
        raise SystemExit(1)
    return made or _open(path, wish)


def _open(path: Path, wish: Wish) -> "tuple[Run[Any], AnyBatches]":
    from heed.transformer.training.runs.run import open_run
    from heed.transformer.training.tasks import TASKS

    run = open_run(path)
    refuse_changes(run, wish)
    if set(LIMITS) & wish.given.keys():
        run.record_limits()
    messages.note("Reading the text")
    return run, TASKS[run.task].resume(run, wish.threads)


def _claimed(run: "Run[Any]", processes: "Processes") -> contextlib.AbstractContextManager[None]:
    return run.claimed() if processes.is_first else contextlib.nullcontext()


def _train(run: "Run[Any]", batches: "AnyBatches", engine: "Engine") -> int | None:
    """Train; returns the number of the signal that ended it, if one did."""
    import torch

    from heed.cli.io.progress import TrainProgress
    from heed.transformer.training.cost import peak_flops
    from heed.transformer.training.distributed import lost_ones_told
    from heed.transformer.training.engine import choose_precision
    from heed.transformer.training.memory import settle_memory
    from heed.transformer.training.runs.log import RunLog
    from heed.transformer.training.trainer import Trainer

    processes = engine.processes
    precision = choose_precision(run.train.precision, engine.device)
    if engine.device.type != "cuda":
        settle_memory()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(TrainProgress(messages.console()))
        log = None
        if processes.is_first:
            peak = processes.size * peak_flops(engine.device, precision)
            log = stack.enter_context(RunLog(run.path, peak=peak))
        trainer: Trainer[Any] = Trainer(run, cast("Any", batches), engine, (progress,), log)
        facts = {
            **batches.facts,
            "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
            "device": str(engine.device),
            "precision": str(precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "processes": processes.size,
            "step": trainer.progress.step,
        }
        for listener in (progress, log):
            if listener:
                listener.on_start(**facts)
        with _stopped_by_signal(trainer) as came, lost_ones_told(processes, run.path):
            finished = trainer.train()
        return None if finished else max(processes.told(came), default=signal.SIGTERM)


@contextlib.contextmanager
def _stopped_by_signal(trainer: "Trainer[Any]") -> Iterator[list[int]]:
    """The first signal that would end training lets it end after the present step; a second one ends it at once.

    Yields:
        The signals that came.
    """
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGHUP)}  # a terminal that is closed
    came: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        trainer.stop()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
