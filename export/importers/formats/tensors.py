"""The tensors of a checkpoint, by name: each is read from its file when it is needed."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch

from heed.models.arrays import FloatArray

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file."""

    shape: Shape
    read: Callable[[], FloatArray]  # its numbers in float32

    def equals(self, other: "StoredTensor") -> bool:
        """Whether the numbers of another are the same."""
        return self.shape == other.shape and bool(np.array_equal(self.read(), other.read()))


Tensors = Mapping[str, StoredTensor]


def as_float32(tensor: torch.Tensor) -> FloatArray:
    """The numbers of a tensor of PyTorch, of whatever type."""
    array: FloatArray = tensor.to(torch.float32).numpy()
    return array
