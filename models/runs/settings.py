"""The config.toml of a training run, read without torch."""

import tomllib
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.records import record

FORMAT = 3  # of a run's directory; a later format is refused, and new settings have defaults in an earlier one
NOISES = ("infilling", "spans")  # of text that a network learns to restore; see heed.transformer.data.batching.noise
LIMITS = ("steps", "epochs", "minutes")  # the settings that end training
TASKS = ("translate", "denoise", "generate", "fill")  # what networks are trained for
KINDS = {"encoder-decoder": "translate", "decoder": "generate"}  # how runs of formats 1 and 2 say it


def config_file(path: Path) -> Path:
    """The config.toml of a run's directory.

    Raises:
        ModelError: It does not exist.
    """
    file = path / "config.toml"
    if not file.is_file():
        raise ModelError(f"{path}: not a run of heed train (no config.toml); name the directory given to -o")
    return file


@record(frozen=True)
class RunConfig:
    """The content of a config.toml."""

    task: str
    network: dict[str, object]  # of formats 1 and 2 as `heed.models.spec.legacy` reads it
    train: dict[str, object]
    is_complete: bool  # whether every setting is present, not only those of an earlier format


def read_config(file: Path) -> RunConfig:
    """Read a run's config.toml.

    Raises:
        ModelError: It is damaged, or was made by a later heed.
        OSError: It cannot be read.
    """
    try:
        config = tomllib.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: damaged ({error}); restore it, or train again") from None
    found = config.get("format")
    if found not in range(1, FORMAT + 1):
        raise ModelError(f"{file}: format {found!r}, but this heed reads {FORMAT}; use the heed that made it")
    network = "network" if found == FORMAT else "model"
    missing = [name for name in (network, "train") if not isinstance(config.get(name), dict)]
    if missing:
        raise ModelError(f"{file}: damaged (no table {' and no '.join(missing)}); restore it, or train again")
    # Runs from before there were two kinds are for translation.
    task = config.get("task") if found == FORMAT else KINDS.get(config.get("kind", "encoder-decoder"))
    if task not in TASKS:
        named = config.get("task" if found == FORMAT else "kind")
        raise ModelError(
            f"{file}: task {named!r}, but this heed trains only {' and '.join(TASKS)}; use the heed that made it"
        )
    return RunConfig(task, config[network], config["train"], is_complete=found == FORMAT)
