"""`heed train`."""

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages
from heed.cli.command import Command
from heed.cli.training.new_run import RunRequest, as_pairs, create, planned, refuse_changes
from heed.cli.training.options import NORM_ALIASES, SECTIONS, train_options
from heed.cli.training.session import train
from heed.cli.training.teacher import taught, teacher_of
from heed.models.errors import ModelError
from heed.models.runs.settings import LIMITS
from heed.models.spec.options import PATHS
from heed.models.system.files import refuse_existing

if TYPE_CHECKING:
    from heed.transformer.training.distributed import Processes
    from heed.transformer.training.engine import Engine
    from heed.transformer.training.runs.run import Run
    from heed.transformer.training.tasks import AnyBatches


@click.command(cls=Command, extra="train", sections=SECTIONS)
@train_options
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
    request = _request(preset_name, config, cache, threads, objective, asked)
    if output and resume:
        raise click.UsageError("--resume continues a run in its own directory; leave out -o.")
    if config and preset_name:
        raise click.UsageError("--preset and --config exclude each other.")
    path, begins = _place(output, resume, request)
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
    if n_bad := int(str(batches.facts.get("left_out_bad", 0))):
        messages.warning(messages.passed_over(n_bad))
    _tell_end(run, ended_by)
    if ended_by is not None:
        ctx.exit(128 + ended_by)


def _request(
    preset_name: str | None,
    config: Path | None,
    cache: Path | None,
    threads: int | None,
    objective: str,
    asked: Mapping[str, object],
) -> RunRequest:
    """What the options ask for.

    Raises:
        click.UsageError: They do not fit together.
    """
    given = {name: value for name, value in asked.items() if value not in (None, (), "")}
    teacher = teacher_of(given, threads)
    network = _network_options(given)
    given = {name: value for name, value in given.items() if name not in network and name != "norm"}
    return RunRequest(preset_name, config, network, as_pairs(given, objective), cache, threads, objective, teacher)


def _place(output: Path | None, resume: Path | None, request: RunRequest) -> tuple[Path, bool]:
    """The directory of the run, and whether it is a new one.

    Raises:
        click.UsageError: The options name no run, or no text for a new one.
        HeedError: The directory is something else.
    """
    path, begins = output or resume, resume is None or not resume.exists()
    if path is None or (begins and not request.names_text):
        if resume:
            raise ModelError(f"{resume}: not a run of heed train (no config.toml); name the directory given to -o")
        raise click.UsageError("Give -o with --src and --tgt, --data, --text or --pairs; or --resume RUN.")
    if begins:
        way_out = f"choose another name, or continue: heed train --resume {shlex.quote(str(path))}"
        refuse_existing(path, force=False, way_out=way_out)
    return path, begins


def _tell_end(run: "Run[Any]", ended_by: int | None) -> None:
    """Say what to do with a run, which a signal may have ended."""
    from heed.transformer.training.tasks import TASKS

    quoted = shlex.quote(str(run.path))
    if ended_by is None:
        messages.note(f"Done. {TASKS[run.task].next_step.format(run=quoted)}")
    else:
        messages.note(f"Stopped. Continue with: heed train --resume {quoted}")


def _network_options(given: Mapping[str, object]) -> dict[str, object]:
    """The options of the network, by the names of `heed.models.spec.options`."""
    found = {name: value for name, value in given.items() if name in PATHS}
    if "norm" in given:
        option, value = NORM_ALIASES[str(given["norm"])]
        messages.note(f"--norm {given['norm']} is now --{option.replace('_', '-')} {value}.")
        found.setdefault(option, value)
    if found.get("activation") == "swiglu":
        found = {"gated": True} | found | {"activation": "silu"}
    words = {name: str(found[name]).replace("-", "_") for name in ("activation", "positions") if name in found}
    return found | words


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
