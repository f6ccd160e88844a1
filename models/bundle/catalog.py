"""Models by name: the default models, and those in the user's models directory."""

import contextlib
import json
import os
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.text.languages import base_language

DEFAULT = Path(__file__).parents[1] / "default"
DEFAULT_TEXT = DEFAULT.with_name("default_text")
DEFAULTS = {"translate": DEFAULT, "generate": DEFAULT_TEXT}  # by task
GERMAN = DEFAULT.with_name("default_de_en")  # the other one that comes with heed
MANIFEST = "heed.json"  # a directory with this file is a model


def models_directory() -> Path:
    """The user's models directory: $HEED_MODELS, or the one of the operating system."""
    if directory := os.environ.get("HEED_MODELS"):
        return Path(directory)
    import platformdirs  # imported here, so that a start with the default model does without

    return platformdirs.user_data_path("heed") / "models"


def available() -> dict[str, Path]:
    """The models that have a name, the default models first."""
    # Reads no manifests, because a shell that completes names waits for this.
    found = {json.loads((path / MANIFEST).read_bytes())["name"]: path for path in brought()}
    with contextlib.suppress(PermissionError):  # another user's, as under sudo -E; see `unreadable`
        for path in _own_models():
            found.setdefault(path.name, path)
    return found


def brought() -> list[Path]:
    """The models that come with heed, the defaults of tasks first."""
    return [path for path in (*DEFAULTS.values(), GERMAN) if _is_model(path)]


def unreadable() -> str | None:
    """What of the user's directory of models may not be read, and why."""
    try:
        _own_models()
    except PermissionError as error:
        return f"{error.filename}: {error.strerror}"
    return None


def _own_models() -> list[Path]:
    """The models in the user's directory.

    Raises:
        PermissionError: It may not be read.
    """
    try:
        paths = sorted(models_directory().iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in paths if _is_model(path)]


def _is_model(path: Path) -> bool:
    with contextlib.suppress(PermissionError):
        return (path / MANIFEST).is_file()
    return False


def find(model: str | None, task: str = "translate") -> Path:
    """The directory of a model, by path or name; for None, the default model of a task.

    Raises:
        ModelError: There is no such model.
    """
    if model is None and task not in DEFAULTS:
        raise ModelError(f"no model for heed {task} comes with heed; name one with -m")
    if model is None:
        return DEFAULTS[task]
    if _is_model(Path(model)):
        return Path(model)
    names = available()
    if model not in names and Path(model).is_dir():
        return Path(model)
    if model not in names:
        import difflib  # imported here, because most names are known

        similar = difflib.get_close_matches(model, names)
        guess = f"did you mean {' or '.join(similar)}? " if similar else ""
        hidden = f"; what is in the models directory is not known: {reason}" if (reason := unreadable()) else ""
        raise ModelError(
            f"{model}: neither a directory nor the name of a model; {guess}the names are: {', '.join(names)}{hidden}"
        )
    return names[model]


def find_by_languages(source: str, target: str) -> Path:
    """The first model that translates from a language to another: of those that come with heed, then by name.

    Args:
        source: Code of the language, of two or three letters, with or without a country; empty: any.
        target: The same.

    Raises:
        ModelError: There is no such model.
    """
    models = available()
    languages = {name: found for name, path in models.items() if (found := languages_of(path))}
    for name, found in languages.items():
        if fits((source, target), found):
            return models[name]
    raise ModelError(
        f"no model here translates {source or 'any language'} to {target or 'any language'}; there are: "
        f"{', '.join(languages)}; import one, see heed import --help, or name one with -m"
    )


def languages_of(path: Path) -> tuple[str, str] | None:
    """The codes of a translation model's languages; None: it is another model, or damaged."""
    from heed.models.bundle import manifest  # imported here, because a shell that completes names does without

    with contextlib.suppress(ModelError, OSError):
        if (found := manifest.read(path)).task == "translate":
            return found.src_language, found.tgt_language
    return None


def fits(asked: tuple[str, str], languages: tuple[str, str]) -> bool:
    """Whether a model's languages, source and target, are those that are asked for; an empty one is any."""
    return all(not one or _code(one) == _code(other) for one, other in zip(asked, languages, strict=True))


def _code(language: str) -> str:
    """The code of a language, of three letters if it has one, without its country or script."""
    from heed.models.spec.conventions import ISO_639_3  # imported here, because a start does without

    code = base_language(language)
    return ISO_639_3.get(code, code)
