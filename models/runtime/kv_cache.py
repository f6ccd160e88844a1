"""KV cache: keys and values in device memory that is reused from batch to batch."""

from collections.abc import Collection, Mapping
from math import prod

import numpy as np
import numpy.typing as npt
from onnxruntime import IOBinding, OrtValue

from heed.models.arrays import IntArray

Array = npt.NDArray[np.number]


class KVCache:
    """Named arrays of keys and values, or of a recurrence's states with one head, (B, H, C, K).

    Allocating memory costs the operating system more time than filling it, so memory is kept. On the CPU ONNX Runtime
    reads and writes this memory directly. On another device, arrays are copied only when their shape changes.

    Args:
        types: Types of their numbers, by the names of the arrays.
        device: Their device.
        turned: Names of arrays that are (B, H, K, C), and do not become wider.
    """

    def __init__(self, types: Mapping[str, type[np.number]], device: str, turned: Collection[str] = ()) -> None:
        self.values: dict[str, OrtValue] = {}
        self._device, self._turned = device, turned
        self._memory: dict[str, Array] = {name: np.empty(0, dtype) for name, dtype in types.items()}
        # Memory for an array whose shape changes, by type.
        self._spare: dict[type[np.number], Array] = {dtype: np.empty(0, dtype) for dtype in types.values()}

    def begin(self, shape: tuple[int, int, int, int]) -> None:
        """Set all arrays to zeros of this shape."""
        B, H, C, K = shape
        for name in self._memory:
            array = self._array(name, (B, H, K, C) if name in self._turned else shape)
            array.fill(0)  # unwritten slots are read, too, under a mask, and must be finite
            self._show(name, array)

    def bind(self, binding: IOBinding) -> None:
        """Bind all arrays as inputs and outputs of a graph, so that it updates them in place."""
        self.bind_past(binding)
        self.bind_present(binding)

    def bind_past(self, binding: IOBinding) -> None:
        """Bind all arrays as inputs of a graph."""
        for name, value in self.values.items():
            binding.bind_ortvalue_input(f"past_{name}", value)

    def bind_present(self, binding: IOBinding) -> None:
        """Bind all arrays as outputs of a graph."""
        for name, value in self.values.items():
            binding.bind_ortvalue_output(name, value)

    def keep(self, rows: IntArray) -> None:
        """Keep only these rows, in this order."""
        places, origins = moves(rows)
        for name, value in self.values.items():
            array = value.numpy()
            array[places] = array[origins]
            self._show(name, array[: len(rows)])

    def widen(self, n_slots: int) -> None:
        """Extend every row to at least this many slots, keeping its present ones."""
        for name, value in self.values.items():
            B, H, C, K = value.shape()
            if n_slots > C:
                before, dtype = value.numpy(), self._memory[name].dtype.type
                self._spare[dtype], self._memory[name] = self._memory[name], self._spare[dtype]
                array = self._array(name, (B, H, n_slots, K))
                array[:, :, :C], array[:, :, C:] = before, 0
                self._show(name, array)

    def _array(self, name: str, shape: tuple[int, int, int, int]) -> Array:
        """The memory of an array, in this shape."""
        size = prod(shape)
        self._memory[name] = _room(self._memory[name], size)
        return self._memory[name][:size].reshape(shape)

    def _show(self, name: str, array: Array) -> None:
        """Give an array to the device; the CPU shares its memory."""
        self.values[name] = OrtValue.ortvalue_from_numpy(array, self._device)


def moves(rows: IntArray) -> tuple[IntArray, IntArray]:
    """Where rows go that are kept in this order, and where from; those that stay are left out, and most of them do."""
    places = np.flatnonzero(rows != np.arange(len(rows)))
    return places, rows[places]


def places_of(slots: IntArray, n_heads: int) -> IntArray:
    """The places of keys and values of tokens, (B, T), in a KV cache: row, head and slot, (B, G, T, 3)."""
    B, T = slots.shape
    places = np.empty((B, n_heads, T, 3), dtype=np.int64)
    places[..., 0], places[..., 1] = np.arange(B)[:, None, None], np.arange(n_heads)[:, None]
    places[..., 2] = slots[:, None]
    return places


def _room(memory: Array, size: int) -> Array:
    return memory if memory.size >= size else np.empty(size, memory.dtype)
