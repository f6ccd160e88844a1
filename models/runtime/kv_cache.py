"""Keys and values in the memory of a device, in room that is used for batch after batch."""

from collections.abc import Iterable
from math import prod

import numpy as np
import numpy.typing as npt
from onnxruntime import IOBinding, OrtValue

from heed.models.arrays import IntArray

Array = npt.NDArray[np.number]


class KVCache:
    """Arrays of keys and values, (B, H, C, K), each under a name.

    New memory costs the operating system more time than filling it, so what was once taken is kept. On the CPU ONNX
    Runtime reads and writes that memory itself; to another device arrays are copied when their shape changes, and not
    in between.

    Args:
        names: Of the arrays.
        device: Where they are.
        dtype: Of their numbers.
    """

    def __init__(self, names: Iterable[str], device: str, dtype: type[np.number]) -> None:
        self.values: dict[str, OrtValue] = {}
        self._device = device
        self._memory: dict[str, Array] = {name: np.empty(0, dtype) for name in names}
        self._before: Array = np.empty(0, dtype)  # what an array was, while it gets another shape

    def begin(self, shape: tuple[int, int, int, int]) -> None:
        """Make all arrays zeros of this shape."""
        for name in self._memory:
            array = self._array(name, shape)
            array.fill(0)  # what nothing was written to is read too, under a mask, and must be finite
            self._show(name, array)

    def bind(self, binding: IOBinding) -> None:
        """Let a graph read all arrays, and write what becomes of them into the same memory."""
        self.bind_past(binding)
        self.bind_present(binding)

    def bind_past(self, binding: IOBinding) -> None:
        """Let a graph read all arrays."""
        for name, value in self.values.items():
            binding.bind_ortvalue_input(f"past_{name}", value)

    def bind_present(self, binding: IOBinding) -> None:
        """Let a graph write all arrays."""
        for name, value in self.values.items():
            binding.bind_ortvalue_output(name, value)

    def keep(self, rows: IntArray) -> None:
        """Continue with these rows alone, in this order; most of them are where they are."""
        moved = np.flatnonzero(rows != np.arange(len(rows)))
        for name, value in self.values.items():
            array = value.numpy()
            array[moved] = array[rows[moved]]
            self._show(name, array[: len(rows)])

    def widen(self, n_slots: int) -> None:
        """Give every row at least so many slots, the first of which are those it has."""
        for name, value in self.values.items():
            B, H, C, K = value.shape()
            if n_slots > C:
                self._before = _room(self._before, B * H * C * K)
                before = self._before[: B * H * C * K].reshape(B, H, C, K)
                np.copyto(before, value.numpy())
                array = self._array(name, (B, H, n_slots, K))
                array[:, :, :C], array[:, :, C:] = before, 0
                self._show(name, array)

    def _array(self, name: str, shape: tuple[int, int, int, int]) -> Array:
        """The memory of an array in this shape."""
        size = prod(shape)
        self._memory[name] = _room(self._memory[name], size)
        return self._memory[name][:size].reshape(shape)

    def _show(self, name: str, array: Array) -> None:
        """Let the device have an array: the CPU shares its memory."""
        self.values[name] = OrtValue.ortvalue_from_numpy(array, self._device)


def _room(memory: Array, size: int) -> Array:
    return memory if memory.size >= size else np.empty(size, memory.dtype)
