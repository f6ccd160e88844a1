"""What `heed train` was asked, and the run that is made of it."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from heed.cli import messages
from heed.models.errors import ModelError
from heed.models.runs.settings import LIMITS
from heed.models.spec.config import (
    TEXT_PRESETS,
    Config,
    DataclassInstance,
    LanguageModelConfig,
    ModelConfig,
    defaults,
    from_table,
    preset,
    to_table,
)

if TYPE_CHECKING:
    from heed.transformer.data.batching.batches import Batches
    from heed.transformer.data.batching.packing import Packing
    from heed.transformer.training.runs.run import Run, TextRun, TranslationRun
    from heed.transformer.training.runs.settings import TrainConfig
    from heed.transformer.training.runs.warm_start import Initial

HEAD_MULTIPLE = 16  # of what ONNX Runtime's operator for attention takes
LEARNT = ("vocab_size", "joint", "src_normalization", "tgt_normalization")  # of a vocabulary that is not given
Table = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What was asked."""

    preset_name: str | None
    config: Path | None  # of an earlier run that is to be repeated
    given: Table  # by options, of the network and of training
    cache: Path | None  # of tokens; None: in the run
    threads: int | None  # of the processor; None: all

    @property
    def names_text(self) -> bool:
        """Whether there is something to train on."""
        return bool(self.config or {"src", "tgt"} <= self.given.keys() or {"data", "text", "pairs"} & self.given.keys())

    def tables(self) -> tuple[str, Table, Table]:
        """The kind of network, and what preset or configuration say of it and of its training.

        Raises:
            ModelError: The configuration is damaged.
        """
        from heed.transformer.training.runs.run import TextRun, TranslationRun, read_settings

        if self.config:
            return read_settings(self.config)
        given = self.given.keys()
        of_text = self.preset_name in TEXT_PRESETS if self.preset_name else bool({"text", "pairs"} & given)
        tables = preset(self.preset_name or ("gpt-tiny" if of_text else "small"))
        return (TextRun if of_text else TranslationRun).kind, tables["model"], tables["train"]


def create(path: Path, wish: Wish) -> "tuple[Run[Any, Any], Batches | Packing]":
    """Make a run of what a preset or an earlier run's config.toml says, as changed by options.

    Raises:
        click.UsageError: What was asked does not go together.
        HeedError: Something asked for cannot be; nothing has been written.
    """
    network, config, initial = settled(wish)
    messages.note("Reading the text")
    from heed.transformer.data import preparation, text_preparation
    from heed.transformer.training.runs.settings import TextConfig, TranslationConfig

    if isinstance(config, TextConfig):
        return text_preparation.new_text_run(path, network, config, initial, cache=wish.cache, threads=wish.threads)
    assert isinstance(config, TranslationConfig)
    run, corpora = preparation.new_run(path, network, config, initial, cache=wish.cache, threads=wish.threads)
    return run, preparation.batches(run, corpora)


def settled(wish: Wish) -> "tuple[Table, TrainConfig, Initial | None]":
    """The network, but for what its vocabulary decides, how it is to be trained, and what it begins with.

    Raises:
        click.UsageError: What was asked does not go together.
        HeedError: What it is to begin with cannot be used.
    """
    kind, network, training = wish.tables()
    given = wish.given
    if set(LIMITS) & given.keys():  # the user's own limits are the only ones
        training = {name: value for name, value in training.items() if name not in LIMITS}
    initial = _initial(given.get("init_from") or training.get("init_from"), kind, given)
    if initial:
        dropout = {"dropout": network["dropout"]} if wish.config else {}  # all else of a network is in its weights
        network = initial.network | dropout
        training = initial.languages | training | {"tokenizer": initial.tokenizer}
    settle = _settle_text if kind == "decoder" else _settle_translation
    return (*settle(network, training, given), initial)


def refuse_changes(run: "TranslationRun | TextRun", wish: Wish) -> None:
    """See that nothing is asked of a run that it was not made for; but one that translates may be given other limits.

    Raises:
        click.UsageError: Something differs; all of it is listed.
    """
    _, network, training = wish.tables() if wish.config or wish.preset_name else ("", {}, {})
    wanted = network | training | {name: _absolute(name, value) for name, value in wish.given.items()}
    limits = {name: value for name, value in wanted.items() if name in LIMITS and name in wish.given}
    if limits and run.kind == "encoder-decoder":  # whose learning rate does not depend on them
        run.limit(limits)
    own: Table = to_table(run.model) | to_table(run.train)
    differing = [
        f"{_options([name])} is {_words(own.get(name))} there and {_words(value)} here"
        for name, value in wanted.items()
        if _words(own.get(name)) != _words(value) and not (limits and name in LIMITS)
    ]
    if differing:
        raise click.UsageError(
            f"--resume goes on with what the run was asked, and that differs: {'; '.join(differing)}. "
            "Leave that out, or begin another run, from its weights by --init-from."
        )


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _initial(source: object, kind: str, given: Table) -> "Initial | None":
    """The network to begin with."""
    if not source:
        return None
    fixed = {field.name for config in (ModelConfig, LanguageModelConfig) for field in dataclasses.fields(config)}
    fixed = (fixed | {"tokenizer", *LEARNT}) - {"dropout"}
    if wrong := fixed & given.keys():
        raise click.UsageError(f"--init-from decides {_options(wrong)}; leave that out.")
    initial = _read_initial(Path(str(source)))
    if initial.kind != kind:
        raise click.UsageError(f"--init-from: {source} is of kind {initial.kind}, and this run of kind {kind}.")
    return initial


def _read_initial(path: Path) -> "Initial":
    if (path / "heed.json").is_file():
        from heed.export.importers.bundle import from_bundle

        return from_bundle(path)
    from heed.transformer.training.runs.warm_start import from_run

    return from_run(path)


def _settle_translation(network: Table, training: Table, given: Table) -> "tuple[Table, TrainConfig]":
    from heed.transformer.training.runs.settings import TranslationConfig

    if given.get("joint") and training.get("joint") is False:  # then it was that which kept matrices apart
        network = network | {"tied_embeddings": True}
    network, training = _asked(network, training, given, ModelConfig, TranslationConfig)
    given_tokenizers = cast("tuple[str, ...]", training.get("tokenizer", ()))
    if given.get("tied_embeddings") and (training.get("joint") is False or len(given_tokenizers) == 2):
        raise click.UsageError("--tied needs one vocabulary; leave out --separate or the second --tokenizer.")
    return network, _config(TranslationConfig, training)


def _settle_text(network: Table, training: Table, given: Table) -> "tuple[Table, TrainConfig]":
    from heed.transformer.training.runs.settings import TextConfig

    network, training = _asked(network, training, given, LanguageModelConfig, TextConfig)
    d_head = _config(LanguageModelConfig, network).d_head
    if d_head % HEAD_MULTIPLE:
        raise click.UsageError(
            f"--d-model over --n-heads must be a multiple of {HEAD_MULTIPLE}, not {d_head}: the export needs that."
        )
    return network, _config(TextConfig, training)


def _asked(
    network: Table, training: Table, given: Table, model: type[DataclassInstance], train: type[DataclassInstance]
) -> tuple[Table, Table]:
    """The tables as changed by options, which must be of this kind of run; the network's is checked."""
    asked = {field.name for field in dataclasses.fields(train)}
    fixed = {field.name for field in dataclasses.fields(model)} - asked  # the vocabulary's size is asked of training
    if stray := given.keys() - asked - fixed:
        raise click.UsageError(f"{_options(stray)}: not for this kind of network.")
    network = network | {name: value for name, value in given.items() if name in fixed}
    training = training | {name: _absolute(name, value) for name, value in given.items() if name in asked}
    if training.get("tokenizer") and (decided := set(LEARNT) & given.keys()):
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


def _absolute(name: str, value: object) -> object:
    """Files by their full names, so that the run can go on from any directory."""
    if not isinstance(value, tuple) or name == "data":  # whose names are full already
        return value
    return tuple(str(Path(path).absolute()) for path in value)
