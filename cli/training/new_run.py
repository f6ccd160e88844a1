"""What the user asked of `heed train`, and the run made from it."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages
from heed.models.errors import ModelError
from heed.models.runs.settings import LIMITS
from heed.models.spec.network import NetworkSpec
from heed.models.spec.options import PATHS, changed, lookup
from heed.models.spec.preset import DEFAULTS, PRESETS, complete, network_spec, overlaid, preset, sized
from heed.models.spec.tables import Config, defaults, from_table, to_table

if TYPE_CHECKING:
    from heed.transformer.data.distillation import Teacher
    from heed.transformer.training.runs.run import Run
    from heed.transformer.training.runs.settings import TrainConfig
    from heed.transformer.training.runs.warm_start import InitialNetwork
    from heed.transformer.training.tasks import AnyBatches

LEARNT = ("vocab_size", "joint", "src_normalization", "tgt_normalization")  # of a vocabulary that is not given
OF_OWN_PIECES = {"extend_vocabulary", "subword_sampling"}  # options that need a tokenizer of heed's own
OF_TEXT = {"text", "pairs"}  # options that name text to continue
OBJECTIVES = {"next": "generate", "masked": "fill", "denoise": "denoise"}  # the tasks of objectives of text
Table = dict[str, object]


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What the user asked for."""

    preset_name: str | None
    config: Path | None  # of the run to repeat
    network: Table  # options of the network; see `heed.models.spec.options`
    given: Table  # options of training
    cache: Path | None  # of the token cache; None: in the run
    threads: int | None  # of the CPU; None: all
    objective: str = "next"  # of text; see `OBJECTIVES`
    teacher: "Teacher | None" = None  # whose translations are learnt

    @property
    def names_text(self) -> bool:
        """Whether training text is named."""
        return bool(self.config or {"src", "tgt"} <= self.given.keys() or (OF_TEXT | {"data"}) & self.given.keys())

    def tables(self) -> tuple[str, Table, Table]:
        """The task, and the tables of the preset or configuration for network and training.

        Raises:
            ModelError: The configuration is damaged.
        """
        from heed.transformer.training.runs.run import read_settings

        if self.config:
            task, network, train = read_settings(self.config)
            return task, to_table(network_spec(network, f"{self.config}, network")), train
        task = self._task()
        tables = preset(self.preset_name or DEFAULTS[task])
        return task, tables["network"], tables["train"]

    def _task(self) -> str:
        """The task that the preset is for, or else the text and the objective.

        Raises:
            click.UsageError: The preset is not for the objective.
        """
        names_pairs = not OF_TEXT & self.given.keys() and self.objective != "denoise"
        task = "translate" if names_pairs else OBJECTIVES[self.objective]
        if not self.preset_name:
            return task
        of_preset = next(task for task, names in PRESETS.items() if self.preset_name in names)
        if self.objective != "next" and of_preset != {"denoise": "translate"}.get(task, task):
            raise click.UsageError(f"--preset {self.preset_name} is not for --objective {self.objective}.")
        return task if task == "denoise" else of_preset


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """The plan of a new run."""

    task: str
    network: Table  # the complete table, without vocabulary sizes
    train: "TrainConfig"
    initial: "InitialNetwork | None"  # initial weights

    def spec(self) -> NetworkSpec:
        """The network, with a vocabulary of the size asked for where it is to be learnt."""
        from heed.models.tokenizers.subwords import Tokenizer

        if self.initial and self.initial.imported:
            return network_spec(self.network, "the imported network")
        sizes = [len(Tokenizer.load(Path(path))) for path in self.train.tokenizer] or [self.train.vocab_size]
        joint = len(sizes) == 1 and getattr(self.train, "joint", True)
        return sized(self.network, sizes[0], sizes[-1], joint=joint)


def as_pairs(given: Table, objective: str) -> Table:
    """The options of training, with the text of denoising as both sides of pairs: each line is its own translation."""
    if objective != "denoise":
        return given
    sides = {"text": ("src", "tgt"), "valid_text": ("valid_src", "valid_tgt")}
    found = {name: value for name, value in given.items() if name not in sides}
    return found | {side: given[name] for name, both in sides.items() if name in given for side in both}


def create(path: Path, request: RunRequest) -> "tuple[Run[Any], AnyBatches]":
    """Create a run from a preset or an earlier run's config.toml, with options applied.

    Raises:
        click.UsageError: Options exclude each other.
        HeedError: Something is impossible; nothing was written.
    """
    plan = planned(request)
    messages.note("Reading the text")
    from heed.transformer.training.tasks import TASKS

    make = TASKS[plan.task].create
    return make(path, plan.network, plan.train, plan.initial, cache=request.cache, threads=request.threads)


def planned(request: RunRequest) -> RunPlan:
    """The plan of a new run.

    Raises:
        click.UsageError: Options exclude each other.
        HeedError: The initial weights cannot be used.
    """
    from heed.transformer.training.runs.run import RUNS

    task, network, training = request.tables()
    network, given = complete(network), request.given
    if set(LIMITS) & given.keys():  # the user's limits replace the preset's
        training = {name: value for name, value in training.items() if name not in LIMITS}
    initial = _initial(given.get("init_from") or training.get("init_from"), task, request)
    if initial:
        dropout = {"dropout": network["dropout"]} if request.config else {}  # everything else follows from the weights
        network = initial.network | dropout
        training = initial.languages | training | {"tokenizer": initial.tokenizer}
        _require_languages(initial, {**training, **given})
    if (
        given.get("joint") and training.get("joint") is False
    ):  # separate vocabularies were the reason for untied matrices
        network = changed(network, {"tied": True})
    training = _with_options(training, given, RUNS[task].settings)
    separate = training.get("joint") is False or len(_names(training.get("tokenizer"))) == 2
    if request.network.get("tied") and separate:
        raise click.UsageError("--tied needs one vocabulary; leave out --separate or the second --tokenizer.")
    return RunPlan(task, _network(network, request.network), _config(RUNS[task].settings, training), initial)


def refuse_changes(run: "Run[Any]", request: RunRequest) -> None:
    """Refuse options that differ from the run's; limits may change if the learning rate does not depend on them.

    Raises:
        click.UsageError: Lists everything that differs.
    """
    _, network, training = request.tables() if request.config or request.preset_name else ("", {}, {})
    training = training | {name: _absolute(name, value) for name, value in request.given.items()}
    limits = {name: value for name, value in training.items() if name in LIMITS and name in request.given}
    if limits and run.train.limits_may_change:
        run.limit(limits)
    own = to_table(run.train)
    differing = [
        _difference(name, own.get(name), value)
        for name, value in training.items()
        if _words(own.get(name)) != _words(value) and not (limits and name in LIMITS)
    ]
    differing += _network_differences(to_table(run.spec), network, request.network)
    if differing:
        raise click.UsageError(
            f"--resume continues the run with its own options, and these differ: {'; '.join(differing)}. "
            "Leave them out, or start another run from its weights with --init-from."
        )


def _network_differences(own: Table, network: Table, given: Table) -> list[str]:
    """The differences of a run's network from a preset or configuration, and from options."""
    wanted = _network(overlaid(own, network), given)
    options = list(PATHS if network else given)
    both = {"encoder_layers", "decoder_layers"} - given.keys()  # already covered by --n-layers
    found = {name: (lookup(own, name), lookup(wanted, name)) for name in options if name not in both}
    return [_difference(name, *values) for name, values in found.items() if values[0] != values[1]]


def _difference(name: str, there: object, here: object) -> str:
    return f"{_options([name])} is {_words(there)} there and {_words(here)} here"


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _initial(source: object, task: str, request: RunRequest) -> "InitialNetwork | None":
    """The initial network."""
    if not source:
        return None
    fixed = (PATHS.keys() | {"tokenizer", *LEARNT}) - {"dropout"}
    if wrong := fixed & (request.given.keys() | request.network.keys()):
        raise click.UsageError(f"--init-from determines {_options(wrong)}; leave that out.")
    initial = _read_initial(Path(str(source)))
    from heed.transformer.training.tasks import TASKS

    if initial.imported and (wrong := OF_OWN_PIECES & request.given.keys()):
        raise click.UsageError(f"--init-from: an imported model keeps its tokenizer; leave out {_options(wrong)}.")
    if not TASKS[task].may_begin_with(initial.task, imported=initial.imported is not None):
        raise click.UsageError(f"--init-from: {source} was trained to {initial.task}, but this run learns to {task}.")
    return initial


def _require_languages(initial: "InitialNetwork", training: Table) -> None:
    if not initial.imported or not initial.imported.conventions.output_tag:
        return
    if not training.get("src_language") or not training.get("tgt_language"):
        raise click.UsageError("--init-from: the model knows many languages; give --src-language and --tgt-language.")


def _read_initial(path: Path) -> "InitialNetwork":
    if (path / "heed.json").is_file():
        from heed.export.importers.bundle import from_bundle

        return from_bundle(path)
    if path.suffix == ".gguf" or not (path / "config.toml").is_file():
        return _read_checkpoint(path)
    from heed.transformer.training.runs.warm_start import from_run

    return from_run(path)


def _read_checkpoint(path: Path) -> "InitialNetwork":
    """A model of another toolkit.

    Raises:
        ModelError: Heed cannot read it, or the extra is not installed.
    """
    known = path.suffix == ".gguf" or (path / "config.json").is_file() or any(path.glob("*.spm"))
    if not known:
        raise ModelError(f"{path}: no run, no bundle and no checkpoint; name a directory with one, or a .gguf file")
    try:
        from heed.export.importers.checkpoints import from_checkpoint
    except ImportError as error:
        raise ModelError(f"{path}: needs {error.name}: pip install 'heed[train,import]'") from None
    return from_checkpoint(path)


def _network(table: Table, given: Mapping[str, object]) -> Table:
    """A network's complete table with options applied, checked before hours of work."""
    try:
        found = changed(table, given)
        sized(found, 1, 1, joint=True)
    except ModelError as error:
        raise click.UsageError(str(error)) from None
    return found


def _with_options(training: Table, given: Table, settings: type[Any]) -> Table:
    """The training table with options applied; the options must belong to this task."""
    if stray := given.keys() - {field.name for field in dataclasses.fields(settings)}:
        raise click.UsageError(f"{_options(stray)}: not available for this kind of network.")
    training = training | {name: _absolute(name, value) for name, value in given.items()}
    if training.get("tokenizer") and (decided := set(LEARNT) & given.keys()):
        raise click.UsageError(f"--tokenizer determines {_options(decided)}; leave that out.")
    return training


def _config(kind: type[Config], table: Table) -> Config:
    try:
        return from_table(kind, defaults(kind) | table, "heed train")
    except ModelError as error:
        raise click.UsageError(str(error)) from None


def _names(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else ()


def _options(names: Iterable[str]) -> str:
    """Settings by the names of their options."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))


def _absolute(name: str, value: object) -> object:
    """Absolute paths, so that the run can be continued from any directory."""
    if not isinstance(value, tuple) or name == "data":  # already absolute
        return value
    return tuple(str(Path(path).absolute()) for path in value)
