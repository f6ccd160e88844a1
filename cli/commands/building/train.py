"""`heed train`."""

import contextlib
import shlex
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.training.new_run import OBJECTIVES, RunRequest, as_pairs, create, planned, refuse_changes
from heed.cli.training.session import train
from heed.cli.training.teacher import taught, teacher_of
from heed.models.errors import ModelError
from heed.models.runs.settings import LIMITS, NOISES
from heed.models.spec.options import PATHS
from heed.models.spec.positions import PositionSpec
from heed.models.spec.preset import MASKED_PRESETS, TEXT_PRESETS, TRANSLATION_PRESETS
from heed.models.spec.stack import ACTIVATIONS, NORMS, PLACEMENTS
from heed.models.system.files import refuse_existing

if TYPE_CHECKING:
    from heed.transformer.training.distributed import Processes
    from heed.transformer.training.engine import Engine
    from heed.transformer.training.runs.run import Run
    from heed.transformer.training.tasks import AnyBatches

# What --norm meant in heed 0.1, where it said one thing to translate and another to continue text.
NORM_ALIASES = {
    "post": ("norm_placement", "after"),
    "pre": ("norm_placement", "before"),
    "layer": ("norm_kind", "layer"),
    "rms": ("norm_kind", "rms"),
}
SECTIONS = {
    "Translation data": ("src", "tgt", "data", "src_field", "tgt_field", "valid_src", "valid_tgt"),
    "Languages": ("src_language", "tgt_language"),
    "Distillation": ("teacher", "teacher_choice", "teacher_mixed"),
    "Filters": ("max_length", "max_ratio", "deduplicate"),
    "Language-model data": ("text", "objective", "pairs", "valid_text", "valid_pairs", "text_field"),
    "Run": ("output", "resume", "preset_name", "init_from", "config"),
    "Network": ("n_layers", "encoder_layers", "decoder_layers", "d_model", "d_ff", "dropout", "tied"),
    "Attention": ("n_heads", "n_kv_heads", "d_head", "positions", "context"),
    "Layers": ("activation", "gated", "norm_kind", "norm_placement", "biases"),
    "Vocabulary": ("tokenizer", "extend_vocabulary", "joint", "vocab_size", "src_normalization", "tgt_normalization"),
    "Batches and optimizer": ("batch_tokens", "warmup", "precision", "seed"),
    "Augmentation": ("subword_sampling", "copy_augment", "case_augment"),
    "Translation training": ("learning_rate_scale", "label_smoothing", "guided_alignment"),
    "Language-model training": ("learning_rate", "weight_decay"),
    "Masks": ("mask_share", "noise", "span_length"),
    "Stopping and validation":  ("steps", "epochs", "minutes", "patience", "valid_every"),
    "Checkpoints": ("average", "ema", "keep", "keep_best", "best_by"),
    "Running": ("device", "threads", "cache", "accumulate", "sharded", "dry_run"),
}  # fmt: skip


@click.command(cls=Command, extra="train", sections=SECTIONS)
@click.option(
    "--src",
    multiple=True,
    type=options.TEXT_FILE,
    help="Source text, one sentence per line, may be .gz or .zst. Repeat for more files.",
)
@click.option(
    "--tgt", multiple=True, type=options.TEXT_FILE, help="Target text: the translation of --src, line by line."
)
@click.option(
    "--data",
    multiple=True,
    type=options.PAIRS,
    help="Sentence pairs: FILE.tsv, .csv, .jsonl or SOURCE,TARGET; append :2 for twice an epoch. Repeat for more.",
)
@click.option("--src-field", help="Field (a.b is b within a) or column of --data with the source.  [default: src; 1]")
@click.option("--tgt-field", help="Field or column of --data with the target.  [default: tgt; 2]")
@click.option(
    "--valid-src", multiple=True, type=options.TEXT_FILE, help="Validation source.  [default: held-out pairs]"
)
@click.option("--valid-tgt", multiple=True, type=options.TEXT_FILE, help="Validation target.")
@click.option(
    "--teacher",
    multiple=True,
    type=options.Model(),
    help="Distillation: learn the translations that this model makes of the source. Repeat for an ensemble.",
)
@click.option(
    "--teacher-choice",
    type=click.Choice(["score", "chrf"]),
    help="Which of the teacher's hypotheses is learnt: the best by its score, or by chrF with --tgt.  [default: score]",
)
@click.option("--teacher-mixed", is_flag=True, default=None, help="Learn --tgt as well as the teacher's translations.")
@click.option(
    "--text",
    multiple=True,
    type=options.TEXT_FILE,
    help="Training text of a language model: a file is one text, or a .jsonl with a text per line; may be .gz or .zst. "
    "Repeat for more.",
)
@click.option(
    "--objective",
    type=click.Choice(list(OBJECTIVES)),
    default="next",
    show_default=True,
    help="What is learnt from --text: the next token; masked tokens (BERT); lines whose spans were replaced, as a "
    "beginning for translation.",
)
@click.option(
    "--pairs",
    multiple=True,
    type=options.TEXT_FILE,
    help="A .jsonl of prompts and completions; only the completions are learnt.",
)
@click.option("--valid-text", multiple=True, type=options.TEXT_FILE, help="Validation text.  [default: held-out 5%]")
@click.option("--valid-pairs", multiple=True, type=options.TEXT_FILE, help="Validation prompts and completions.")
@click.option("--text-field", help="Field of a .jsonl with the text.  [default: text]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the new run.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Continue this run from its last checkpoint; with the options of a new run, start it if it does not exist.",
)
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice([*TRANSLATION_PRESETS, *TEXT_PRESETS, *MASKED_PRESETS]),
    metavar="NAME",
    help="Network and training settings, which the options below change: "
    f"{', '.join(TRANSLATION_PRESETS)}; for text {', '.join(TEXT_PRESETS)}; for masks {', '.join(MASKED_PRESETS)}.  "
    "[default: small, gpt-tiny, bert-tiny]",
)
@click.option(
    "--init-from",
    type=click.Path(exists=True, resolve_path=True),
    help="Warm start: begin with the weights and the vocabulary of a run, a bundle, or a model that heed import reads.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Repeat the run with this config.toml.")
@click.option("--src-language", default="", help="Source language for the model card, such as en.")
@click.option("--tgt-language", default="", help="Target language for the model card, such as de.")
@click.option("--n-layers", type=int, help="Number of layers of each stack.")
@click.option("--encoder-layers", type=int, help="Number of encoder layers.")
@click.option("--decoder-layers", type=int, help="Number of decoder layers; few of them decode faster.")
@click.option("--d-model", type=int, help="Width of the network.")
@click.option("--d-ff", type=int, help="Inner width of the feed-forward layers.")
@click.option("--n-heads", type=int, help="Number of attention heads.")
@click.option("--dropout", type=float, help="Dropout rate.")
@click.option(
    "--n-kv-heads", type=int, help="Number of key and value heads, each shared by a group of attention heads."
)
@click.option("--d-head", type=int, help="Width of a head.  [default: --d-model / --n-heads]")
@click.option(
    "--positions",
    type=click.Choice([kind.kind for kind in typing.get_args(PositionSpec)]),
    help="Position encoding.",
)
@click.option("--context", type=int, help="Maximum number of tokens, for learned and rotary positions.")
@click.option(
    "--activation",
    type=click.Choice([*(name.replace("_", "-") for name in ACTIVATIONS), "swiglu"]),
    help="Activation of the feed-forward layers; swiglu is silu with --gated.",
)
@click.option("--gated/--ungated", default=None, help="Gate the feed-forward layers with a second projection, or not.")
@click.option("--norm-kind", type=click.Choice(NORMS), help="Layer norm or RMS norm.")
@click.option(
    "--norm-placement",
    type=click.Choice(PLACEMENTS),
    help="Norm after each residual connection, or before each sub-layer.",
)
@click.option("--norm", type=click.Choice(list(NORM_ALIASES)), hidden=True)
@click.option("--biases/--no-biases", default=None, help="Biases of all projections and norms, or none.")
@click.option(
    "--tied/--untied",
    default=None,
    help="Tie source, target and output embeddings.",
)
@click.option(
    "--tokenizer",
    multiple=True,
    type=options.TEXT_FILE,
    help="SentencePiece model to use; give it twice for source and target.",
)
@click.option("--joint/--separate", "joint", default=None, help="Learn one joint vocabulary, or one for each side.")
@click.option("--vocab-size", type=int, help="Vocabulary size.")
@click.option(
    "--extend-vocabulary",
    type=click.IntRange(min=1),
    help="Learn N pieces from this text and add them to the vocabulary of --init-from or --tokenizer.",
)
@click.option(
    "--src-normalization",
    type=click.Choice(["nfkc", "nfc"]),
    help="Unicode normalization of source text; nfkc also folds full-width forms, … and the like.  [default: nfkc]",
)
@click.option(
    "--tgt-normalization",
    type=click.Choice(["nfkc", "nfc"]),
    help="Unicode normalization of target text; nfc keeps full-width forms, … and the like.  [default: nfc]",
)
@click.option("--batch-tokens", type=int, help="Tokens per batch and side.")
@click.option("--max-length", type=int, help="Drop pairs with more tokens on either side.")
@click.option(
    "--max-ratio", type=float, help="Drop pairs in which one side has more than X times the tokens of the other."
)
@click.option("--deduplicate/--keep-duplicates", default=None, help="Drop repeated pairs.")
@click.option(
    "--subword-sampling",
    type=float,
    help="Subword regularization (BPE-dropout): skip this share of merges, such as 0.1.",
)
@click.option(
    "--copy-augment",
    type=float,
    help="Copy augmentation: replace names, numbers, addresses and code words in this share of pairs, such as 0.5.",
)
@click.option(
    "--case-augment",
    type=float,
    help="Case augmentation: this share of pairs in capitals or as titles.",
)
@click.option(
    "--guided-alignment",
    type=float,
    help="Guide one attention head to the source tokens that the target copies; weight of that loss, such as 0.5.",
)
@click.option("--warmup", type=int, help="Warmup steps of the learning rate.")
@click.option("--learning-rate-scale", type=float, help="Factor of the paper's learning-rate schedule.")
@click.option("--learning-rate", type=float, help="Peak learning rate, after warmup; it decays to a tenth.")
@click.option("--weight-decay", type=float, help="AdamW's weight decay of matrices.")
@click.option("--mask-share", type=float, help="Share of the tokens that are masked.  [default: 0.15; denoise: 0.3]")
@click.option(
    "--noise",
    type=click.Choice(NOISES),
    help="Denoising: write the text whose spans became masks (BART), or the spans after sentinels (T5).  "
    "[default: infilling]",
)
@click.option("--span-length", type=float, help="Denoising: mean length of spans in tokens.  [default: 3]")
@click.option("--label-smoothing", type=float, help="Label smoothing, ε_ls in the paper.")
@click.option("--precision", type=click.Choice(["auto", "bfloat16", "float32"]), help="Precision of matrix products.")
@click.option("--steps", type=int, help="Stop after this many steps.")
@click.option("--epochs", type=int, help="Stop after this many epochs.")
@click.option("--minutes", type=float, help="Stop after this many minutes.")
@click.option("--valid-every", type=int, help="Steps between validations, each with a checkpoint.")
@click.option("--patience", type=int, help="Early stopping: stop after N validations without improvement.")
@click.option("--average", type=int, help="Number of last checkpoints to average at the end.")
@click.option(
    "--ema",
    type=float,
    help="Validate and export an exponential moving average of the weights with this decay, such as 0.999.",
)
@click.option("--keep", type=int, help="Number of last checkpoints to keep.  [default: as many as are averaged]")
@click.option("--keep-best", type=int, help="Number of best checkpoints to keep as well.  [default: 1]")
@click.option(
    "--best-by",
    type=click.Choice(["bleu", "loss"]),
    help="Measure that decides which checkpoint is best.  [default: bleu; language models: loss]",
)
@click.option("--seed", type=int, help="Seed of the weights, dropout and order of the data.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, or auto, which is cuda if available.",
)
@options.threads
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the token cache, shared by runs on the same text.  [default: in the run]",
)
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Gradient accumulation: compute each batch in N parts, with less memory and the same result.",
)
@click.option(
    "--sharded", is_flag=True, help="Shard weights and optimizer state among the processes of torchrun (FSDP)."
)
@click.option("--dry-run", is_flag=True, help="Print what training would take, and do nothing.")
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
    objective: str,
    **asked: object,
) -> None:
    """Train a translation model or a language model.

    \b
    heed train --src train.en --tgt train.de --minutes 60 -o runs/ende
    heed train --text novel.txt --minutes 30 -o runs/novel
    heed train --init-from runs/novel --pairs answers.jsonl -o runs/answers
    heed train --text novel.txt --objective masked -o runs/masked
    heed train --resume runs/ende

    Learns a vocabulary, trains, validates, and keeps the last and the best checkpoints in the run's directory. Ctrl-C,
    SIGTERM and a closed terminal save a checkpoint first. --config RUN/config.toml repeats a run.
    """
    given = {name: value for name, value in asked.items() if value not in (None, (), "")}
    teacher = teacher_of(given, threads)
    network = _network_options(given)
    given = {name: value for name, value in given.items() if name not in network and name != "norm"}
    text = as_pairs(given, objective)
    request = RunRequest(preset_name, config, network, text, cache, threads, objective, teacher)
    if output and resume:
        raise click.UsageError("--resume continues a run in its own directory; leave out -o.")
    if config and preset_name:
        raise click.UsageError("--preset and --config exclude each other.")
    path, begins = output or resume, resume is None or not resume.exists()
    if path is None or (begins and not request.names_text):
        if resume:
            raise ModelError(f"{resume}: not a run of heed train (no config.toml); name the directory given to -o")
        raise click.UsageError("Give -o with --src and --tgt, --data, --text or --pairs; or --resume RUN.")
    if begins:
        way_out = f"choose another name, or continue: heed train --resume {shlex.quote(str(path))}"
        refuse_existing(path, force=False, way_out=way_out)
    from heed.transformer.training.distributed import joined

    with joined() as processes:
        if not processes.is_first:
            ctx.meta[messages.KEY] = messages.QUIET
        engine = _engine(processes, device, threads, accumulate, sharded=sharded)
        if dry_run:
            _estimate(path, request, engine, begins=begins)
            return
        run, batches = _prepare(path, request, engine.processes, begins=begins)
        with _claimed(run, processes):
            ended_by = train(run, batches, engine)
    quoted = shlex.quote(str(path))
    if ended_by is None:
        messages.note(f"Done. Export it with: heed export {quoted} -o MODEL")
    else:
        messages.note(f"Stopped. Continue with: heed train --resume {quoted}")
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
    """The engine; a missing device is refused before anything is written."""
    import torch

    from heed.models.system.processor import available_cores
    from heed.transformer.training.distributed import local_device, n_local
    from heed.transformer.training.engine import Engine, choose_device

    if sharded and processes.size == 1:
        raise click.UsageError("--sharded shards a network among processes; start several with torchrun.")
    torch.set_num_threads(threads or max(1, available_cores() // n_local()))
    device = choose_device(local_device(device_name))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return Engine(device, processes, sharded=sharded, accumulate=accumulate)


def _estimate(path: Path, request: RunRequest, engine: "Engine", *, begins: bool) -> None:
    """Print on stdout what training would take."""
    from heed.transformer.training.estimate import estimate
    from heed.transformer.training.runs.run import open_run

    if begins:
        plan = planned(request)
        found = estimate(plan.task, plan.spec(), plan.train, engine)
    else:
        run = open_run(path)
        refuse_changes(run, taught(path, request))
        found = estimate(run.task, run.spec, run.train, engine)
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name:<{width}}  {value}")


def _prepare(path: Path, request: RunRequest, processes: "Processes", *, begins: bool) -> "tuple[Run[Any], AnyBatches]":
    """The run and its data; the first process creates them for all."""
    made = None
    failed = True
    try:
        if processes.is_first:
            made = create(path, taught(path, request)) if begins else _open(path, taught(path, request))
        failed = False
    finally:
        failed = processes.told(failed)
    if failed:  # the first process has reported why
        raise SystemExit(1)
    return made or _open(path, taught(path, request))


def _open(path: Path, request: RunRequest) -> "tuple[Run[Any], AnyBatches]":
    from heed.transformer.training.runs.run import open_run
    from heed.transformer.training.tasks import TASKS

    run = open_run(path)
    refuse_changes(run, request)
    if set(LIMITS) & request.given.keys():
        run.record_limits()
    messages.note("Reading the text")
    return run, TASKS[run.task].resume(run, request.threads)


def _claimed(run: "Run[Any]", processes: "Processes") -> contextlib.AbstractContextManager[None]:
    return run.claimed() if processes.is_first else contextlib.nullcontext()
