"""Models by name: the default models, and those in the user's models directory."""

import difflib
import json
import os
from pathlib import Path

from heed.models.errors import ModelError

DEFAULT = Path(__file__).parents[1] / "default"
DEFAULT_TEXT = DEFAULT.with_name("default_text")
DEFAULTS = {"translate": DEFAULT, "generate": DEFAULT_TEXT}  # by task
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
    brought = [path for path in DEFAULTS.values() if (path / MANIFEST).is_file()]
    found = {json.loads((path / MANIFEST).read_bytes())["name"]: path for path in brought}
    directory = models_directory()
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            if (path / MANIFEST).is_file():
                found.setdefault(path.name, path)
    return found


def find(model: str | None, task: str = "translate") -> Path:
    """The directory of a model, by path or name; for None, the default model of a task.

    Raises:
        ModelError: There is no such model.
    """
    if model is None:
        return DEFAULTS[task]
    if (Path(model) / MANIFEST).is_file():
        return Path(model)
    names = available()
    if model not in names and Path(model).is_dir():
        return Path(model)
    if model not in names:
        similar = difflib.get_close_matches(model, names)
        guess = f"did you mean {' or '.join(similar)}? " if similar else ""
        raise ModelError(
            f"{model}: neither a directory nor the name of a model; {guess}the names are: {', '.join(names)}"
        )
    return names[model]
