"""A checkpoint in the layout of Hugging Face: a directory of a configuration, tensors and files of a tokenizer."""

import difflib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from heed.export.importers.formats import pickle_file, safetensors_file
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import StoredTensor, Tensors
from heed.models.errors import ModelError

CONFIG, GENERATION = "config.json", "generation_config.json"
# Names of files of weights, in order of preference, and what reads them; of each the index of its shards, too.
READERS: dict[str, Callable[[Path], dict[str, StoredTensor]]] = {
    "model.safetensors": safetensors_file.read,
    "pytorch_model.bin": pickle_file.read,
}


class Checkpoint:
    """A directory of a model of Hugging Face's transformers.

    Args:
        path: The directory.
        task: The name of a task for which config.json has settings, or what its prefix begins with; None: none.

    Raises:
        ModelError: It is none, or one that heed does not import, or it names no such task.
    """

    def __init__(self, path: Path, task: str | None = None) -> None:
        self.path = path
        if (path / "adapter_config.json").exists():
            raise ModelError(f"{path}: an adapter, no whole model; merge it with its base model first")
        self.config = read_table(path / CONFIG)
        self._task = {} if task is None else self._settings_of(task)

    @property
    def model_type(self) -> str:
        """The name of the family."""
        return str(self.config.get("model_type"))

    def settings(self) -> Settings:
        """The configuration, with no key read yet."""
        return Settings(self.config, str(self.path / CONFIG))

    @cached_property
    def generation(self) -> dict[str, object]:
        """How texts are searched for: what the files say, the later ones' word before that of config.json."""
        path = self.path / GENERATION
        newer = read_table(path) if path.exists() else {}
        return self.config | {key: value for key, value in newer.items() if value is not None} | self._task

    @property
    def prefix(self) -> str | None:
        """The text that sources of the task begin with."""
        found = self._task.get("prefix")
        return found if isinstance(found, str) and found else None

    def _settings_of(self, task: str) -> dict[str, object]:
        """The settings of a task: of the prefix and of the search."""
        listed = self.config.get("task_specific_params")
        named = listed if isinstance(listed, dict) else {}
        tasks = {name: each for name, each in named.items() if isinstance(each, dict)}
        for name, settings in tasks.items():
            if task == name or str(settings.get("prefix") or "").startswith(task):
                return settings
        known = f"it names {', '.join(tasks)}" if tasks else "it names none"
        similar = difflib.get_close_matches(task, tasks, cutoff=0.5)
        hint = f"did you mean {' or '.join(similar)}?" if similar else known
        raise ModelError(f"{self.path / CONFIG}: no task {task!r}; {hint}")

    @cached_property
    def tensors(self) -> Tensors:
        """Its tensors.

        Raises:
            ModelError: A file is missing or damaged.
        """
        for name, read in READERS.items():
            if (self.path / name).exists():
                return read(self.path / name)
            if (self.path / f"{name}.index.json").exists():
                return self._shards(self.path / f"{name}.index.json", read)
        raise ModelError(f"{self.path}: no weights: heed reads {' and '.join(READERS)}, whole or in shards")

    def _shards(self, index: Path, read: Callable[[Path], dict[str, StoredTensor]]) -> Tensors:
        places = read_table(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise ModelError(f"{index}: damaged (weight_map is no table of names); get it again")
        for name in set(places.values()):
            if Path(name).name != name or name in (".", "..") or "\\" in name:
                raise ModelError(f"{index}: {name!r} is no plain name of a file beside it; get the model again")
            if not (index.parent / name).is_file():
                raise ModelError(f"{index.parent / name}: this shard is missing; get the whole model")
        found = {
            name: tensor for file in sorted(set(places.values())) for name, tensor in read(index.parent / file).items()
        }
        if missing := places.keys() - found.keys():
            raise ModelError(f"{index}: no shard has {min(missing)}; get the model again")
        return found


def read_table(path: Path) -> dict[str, object]:
    """The table of a JSON file.

    Raises:
        ModelError: It is missing or damaged.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path}: {error.strerror}; name a directory with a model's {CONFIG} or a student's .bin and .spm, "
            "or a .gguf file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: no JSON ({error}); get it again") from None
    if not isinstance(table, Mapping):
        raise ModelError(f"{path}: no table; get it again")
    return dict(table)
