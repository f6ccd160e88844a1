"""What `heed train` was asked, and the run that is made of it."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages
from heed.models.errors import ModelError
from heed.models.runs.settings import LIMITS
from heed.models.spec.options import PATHS, changed, lookup
from heed.models.spec.preset import DEFAULTS, PRESETS, complete, network_spec, overlaid, preset, sized
from heed.models.spec.tables import Config, defaults, from_table, to_table

if TYPE_CHECKING:
    from heed.transformer.training.runs.run import Run
    from heed.transformer.training.runs.settings import TrainConfig
    from heed.transformer.training.runs.warm_start import Initial
    from heed.transformer.training.tasks import AnyBatches

LEARNT = ("vocab_size", "joint", "src_normalization", "tgt_normalization")  # of a vocabulary that is not given
OF_TEXT = {"text", "pairs"}  # options that name text to continue
Table = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What was asked."""

    preset_name: str | None
    config: Path | None  # of an earlier run that is to be repeated
    network: Table  # by options, see `heed.models.spec.options`
    given: Table  # by options, of training
    cache: Path | None  # of tokens; None: in the run
    threads: int | None  # of the processor; None: all

    @property
    def names_text(self) -> bool:
        """Whether there is something to train on."""
        return bool(self.config or {"src", "tgt"} <= self.given.keys() or (OF_TEXT | {"data"}) & self.given.keys())

    def tables(self) -> tuple[str, Table, Table]:
        """The task, and what preset or configuration say of the network and of its training.

        Raises:
            ModelError: The configuration is damaged.
        """
        from heed.transformer.training.runs.run import read_settings

        if self.config:
            task, network, train = read_settings(self.config)
            return task, to_table(network_spec(network, f"{self.config}, network")), train
        task = "generate" if OF_TEXT & self.given.keys() else "translate"
        if self.preset_name:
            task = next(task for task, names in PRESETS.items() if self.preset_name in names)
        tables = preset(self.preset_name or DEFAULTS[task])
        return task, tables["network"], tables["train"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a new run is to be."""

    task: str
    network: Table  # the whole table, but for the sizes of vocabularies
    train: "TrainConfig"
    initial: "Initial | None"  # what it begins with


def create(path: Path, wish: Wish) -> "tuple[Run[Any], AnyBatches]":
    """Make a run of what a preset or an earlier run's config.toml says, as changed by options.

    Raises:
        click.UsageError: What was asked does not go together.
        HeedError: Something asked for cannot be; nothing has been written.
    """
    plan = settled(wish)
    messages.note("Reading the text")
    from heed.transformer.training.tasks import TASKS

    make = TASKS[plan.task].create
    return make(path, plan.network, plan.train, plan.initial, cache=wish.cache, threads=wish.threads)


def settled(wish: Wish) -> Plan:
    """What a new run is to be.

    Raises:
        click.UsageError: What was asked does not go together.
        HeedError: What it is to begin with cannot be used.
    """
    from heed.transformer.training.runs.run import RUNS

    task, network, training = wish.tables()
    network, given = complete(network), wish.given
    if set(LIMITS) & given.keys():  # the user's own limits are the only ones
        training = {name: value for name, value in training.items() if name not in LIMITS}
    initial = _initial(given.get("init_from") or training.get("init_from"), task, wish)
    if initial:
        dropout = {"dropout": network["dropout"]} if wish.config else {}  # all else of a network is in its weights
        network = initial.network | dropout
        training = initial.languages | training | {"tokenizer": initial.tokenizer}
    if given.get("joint") and training.get("joint") is False:  # then it was that which kept matrices apart
        network = changed(network, {"tied": True})
    training = _asked(training, given, RUNS[task].settings)
    separate = training.get("joint") is False or len(_names(training.get("tokenizer"))) == 2
    if wish.network.get("tied") and separate:
        raise click.UsageError("--tied needs one vocabulary; leave out --separate or the second --tokenizer.")
    return Plan(task, _network(network, wish.network), _config(RUNS[task].settings, training), initial)


def refuse_changes(run: "Run[Any]", wish: Wish) -> None:
    """See that nothing is asked of a run that it was not made for, but other limits where these may change.

    Raises:
        click.UsageError: Something differs; all of it is listed.
    """
    _, network, training = wish.tables() if wish.config or wish.preset_name else ("", {}, {})
    training = training | {name: _absolute(name, value) for name, value in wish.given.items()}
    limits = {name: value for name, value in training.items() if name in LIMITS and name in wish.given}
    if limits and run.train.limits_may_change:
        run.limit(limits)
    own = to_table(run.train)
    differing = [
        _difference(name, own.get(name), value)
        for name, value in training.items()
        if _words(own.get(name)) != _words(value) and not (limits and name in LIMITS)
    ]
    differing += _network_differences(to_table(run.spec), network, wish.network)
    if differing:
        raise click.UsageError(
            f"--resume goes on with what the run was asked, and that differs: {'; '.join(differing)}. "
            "Leave that out, or begin another run, from its weights by --init-from."
        )


def _network_differences(own: Table, network: Table, given: Table) -> list[str]:
    """How a run's network differs from that of a preset or configuration, and from options."""
    wanted = _network(overlaid(own, network), given)
    options = list(PATHS if network else given)
    both = {"encoder_layers", "decoder_layers"} - given.keys()  # which --n-layers says
    found = {name: (lookup(own, name), lookup(wanted, name)) for name in options if name not in both}
    return [_difference(name, *values) for name, values in found.items() if values[0] != values[1]]


def _difference(name: str, there: object, here: object) -> str:
    return f"{_options([name])} is {_words(there)} there and {_words(here)} here"


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _initial(source: object, task: str, wish: Wish) -> "Initial | None":
    """The network to begin with."""
    if not source:
        return None
    fixed = (PATHS.keys() | {"tokenizer", *LEARNT}) - {"dropout"}
    if wrong := fixed & (wish.given.keys() | wish.network.keys()):
        raise click.UsageError(f"--init-from decides {_options(wrong)}; leave that out.")
    initial = _read_initial(Path(str(source)))
    if initial.task != task:
        raise click.UsageError(f"--init-from: {source} was trained to {initial.task}, and this run learns to {task}.")
    return initial


def _read_initial(path: Path) -> "Initial":
    if (path / "heed.json").is_file():
        from heed.export.importers.bundle import from_bundle

        return from_bundle(path)
    from heed.transformer.training.runs.warm_start import from_run

    return from_run(path)


def _network(table: Table, given: Mapping[str, object]) -> Table:
    """A network's whole table as changed by options, and checked before hours of work."""
    try:
        found = changed(table, given)
        sized(found, 1, 1, joint=True)
    except ModelError as error:
        raise click.UsageError(str(error)) from None
    return found


def _asked(training: Table, given: Table, settings: type[Any]) -> Table:
    """The table of training as changed by options, which must be of this task."""
    if stray := given.keys() - {field.name for field in dataclasses.fields(settings)}:
        raise click.UsageError(f"{_options(stray)}: not for this kind of network.")
    training = training | {name: _absolute(name, value) for name, value in given.items()}
    if training.get("tokenizer") and (decided := set(LEARNT) & given.keys()):
        raise click.UsageError(f"--tokenizer decides {_options(decided)}; leave that out.")
    return training


def _config(kind: type[Config], table: Table) -> Config:
    try:
        return from_table(kind, defaults(kind) | table, "heed train")
    except ModelError as error:
        raise click.UsageError(str(error)) from None


def _names(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else ()


def _options(names: Iterable[str]) -> str:
    """Names of settings, as options."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))


def _absolute(name: str, value: object) -> object:
    """Files by their full names, so that the run can go on from any directory."""
    if not isinstance(value, tuple) or name == "data":  # whose names are full already
        return value
    return tuple(str(Path(path).absolute()) for path in value)
