"""Tensors of pytorch_model.bin files, which are pickles: nothing but tensors is loaded of them."""

import pickle
import warnings
import zipfile
from functools import partial
from pathlib import Path

import torch

from heed.export.importers.formats.tensors import StoredTensor, as_float32
from heed.models.errors import ModelError

# What PyTorch raises, by where a file is cut or crafted.
DAMAGES = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    MemoryError,
)


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file.

    Raises:
        ModelError: It is damaged, or holds anything but tensors: code, which is not run.
    """
    try:
        with warnings.catch_warnings():  # of forms that are refused below, if they hold anything but tensors
            warnings.simplefilter("ignore")  # memory maps need the newer form of the file, a zip archive
            table = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DAMAGES as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: not a plain file of tensors ({reason}); get it as .safetensors") from None
    if not isinstance(table, dict) or not all(isinstance(each, torch.Tensor) for each in table.values()):
        raise ModelError(f"{path}: not a plain table of tensors; get it as .safetensors")
    return {str(name): StoredTensor(tuple(each.shape), partial(as_float32, each)) for name, each in table.items()}
