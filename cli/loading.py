"""Finding and loading the model of a command, and the settings of its search."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from heed.cli import messages
from heed.models.errors import ModelError

if TYPE_CHECKING:
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.generator import Generator
    from heed.models.tasks.translation.translator import Translator


_loaded: list[object] = []  # the model of the last command: freed with the process, which takes less time


def find_model(model: str | None, task: str = "translate") -> Path:
    """The directory of the model that a command was asked for by its option or the environment, or a task's default.

    Raises:
        ModelError: There is no such model.
    """
    from heed.models.bundle import catalog

    try:
        return catalog.find(model, task)
    except ModelError as error:
        if click.get_current_context().get_parameter_source("model") is ParameterSource.ENVIRONMENT:
            raise ModelError(f"HEED_MODEL: {error}") from None
        raise


def find_models(models: Sequence[str], languages: tuple[str, str] = ("", "")) -> list[Path]:
    """The directories of the models of an ensemble, or of one; see `find_model`.

    Args:
        models: Names or directories; empty: the default model, or the first one for the languages.
        languages: Codes of source and target that were asked for; an empty one is any.

    Raises:
        ModelError: There is no such model, or one is for other languages.
    """
    from heed.models.bundle import catalog

    if not any(languages):
        return [find_model(model) for model in models] or [find_model(None)]
    if not models:
        return [catalog.find_by_languages(*languages)]
    found = [find_model(model) for model in models]
    for path in found:
        if (its := catalog.languages_of(path)) and not catalog.fits(languages, its):
            raise ModelError(
                f"{path} translates {its[0]} to {its[1]}; leave out --from and --to, or name another model"
            )
    return found


def load_translator(
    paths: Sequence[Path],
    *,
    device: str,
    threads: int | None,
    shortlist: bool,
    split: bool = True,
    glossary: Path | None = None,
    aligns: bool = False,
    repair: bool = True,
    meanwhile: Callable[[], object] | None = None,
) -> "Translator":
    """Load a translation model, or an ensemble; see `heed.models.tasks.translation.loading.load`.

    Raises:
        ModelError: It cannot be used here.
    """
    from heed.models.tasks.translation.loading import load

    with messages.timed(f"Loaded {', '.join(map(str, paths))} for {device}"):
        translator = load(
            paths,
            device=device,
            threads=threads,
            shortlist=shortlist,
            split=split,
            glossary=glossary,
            aligns=aligns,
            repair=repair,
            meanwhile=meanwhile,
        )
    _loaded[:] = [translator]
    return translator


def load_generator(model: str | None, *, device: str, threads: int | None) -> "Generator":
    """Load a language model; see Generator.load.

    Raises:
        ModelError: There is no such model, or it cannot be used here.
    """
    from heed.models.tasks.generator import Generator

    path = find_model(model, "generate")
    with messages.timed(f"Loaded {path} for {device}"):
        return Generator.load(path, device=device, threads=threads)


def search_config(default: "DecodeConfig", options: Mapping[str, Any]) -> "DecodeConfig":
    """The model's search settings, overridden by the options that were given.

    Raises:
        click.UsageError: An option has a value that Click does not refuse, such as nan.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return dataclasses.replace(default, **given)
    except ModelError as error:
        raise click.UsageError(str(error)) from None
