"""Tensors of .safetensors files."""

from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open

from heed.export.importers.formats.tensors import StoredTensor, as_float32
from heed.models.arrays import FloatArray
from heed.models.errors import ModelError


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file.

    Raises:
        ModelError: It is no such file, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ModelError(f"{path}: no whole .safetensors file ({error}); get it again") from None
    return {name: StoredTensor(shape, partial(_tensor, path, name)) for name, shape in shapes.items()}


def _tensor(path: Path, name: str) -> FloatArray:
    with safe_open(path, framework="pt") as file:
        return as_float32(file.get_tensor(name))
