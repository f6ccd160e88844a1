"""When models are loaded by processes of their own."""

from collections.abc import Sequence
from pathlib import Path

from heed.models.bundle import manifest

SMALL = 64 << 20  # bytes of models that each process may load for itself


def suit_processes(models: Sequence[Path], device: str) -> bool:
    """Whether processes should load models, one on each core, and not threads share them.

    Threads of one process run Python one at a time. Small networks spend a quarter of their time there, large ones
    next to none, and of these each process would hold a copy.
    """
    sizes = [record.size for model in models for record in manifest.read(model).files.values()]
    return device == "cpu" and sum(sizes) <= SMALL
