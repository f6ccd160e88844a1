"""Creation of a run's directory, which appears when it is complete."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from heed.models.runs.settings import FORMAT
from heed.models.spec.network import NetworkSpec
from heed.models.spec.tables import to_table
from heed.models.system.files import directory_whole
from heed.transformer.data.batching.token_cache import OWN, TextRecord
from heed.transformer.training.runs.checkpoint import Weights, write_weights
from heed.transformer.training.runs.settings import TextConfig, TranslationConfig

INITIAL = "initial"  # the initial weights of a warm start


@contextmanager
def created(
    path: Path,
    task: str,
    spec: NetworkSpec,
    train: TranslationConfig | TextConfig,
    initial: Weights | None,
) -> Iterator[Path]:
    """The directory of a new run, under a temporary name until it is complete."""
    config = {
        "format": FORMAT,
        "heed": importlib.metadata.version("heed"),
        "task": task,
        "network": to_table(spec),
        "train": to_table(train),
    }
    with directory_whole(path) as aside:
        (aside / "config.toml").write_text(tomli_w.dumps(config), "utf-8")
        (aside / "checkpoints").mkdir()
        if initial is not None:
            write_weights(aside / INITIAL, initial)
        yield aside


def take_text(aside: Path, text: TextRecord | None, cache: Path | None) -> None:
    """Write the record of the training text, and move a cache beside the run into it."""
    if text:
        text.write(aside)
    if cache:
        cache.rename(aside / OWN)
