"""What the graphs of all networks are made of: heads, caches, attention, norms."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from heed.export.onnx.builder import CONTRIB, GraphBuilder

FLOAT, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL

State = Mapping[str, npt.NDArray[np.float32]]


class StackWriter:
    """Writes the parts of a stack of layers.

    Args:
        graph: Where they are put.
        state: The network's weights, by PyTorch's names.
        n_heads: Heads of keys and values.
        d_head: Their width.
    """

    def __init__(self, graph: GraphBuilder, state: State, *, n_heads: int, d_head: int) -> None:
        self._graph, self._state = graph, state
        self._n_heads, self._d_head = n_heads, d_head

    def _split_heads(self, x: ir.Value, ids: ir.Value) -> ir.Value:
        """x, with a row of numbers for each of some ids, (B, T), head by head: (B, H, T, K)."""
        graph = self._graph
        shape = graph.op("Concat", graph.op("Shape", ids), graph.integers(-1, self._d_head), axis=0)
        return graph.op("Transpose", graph.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def _places(self, rows: ir.Value, slots: ir.Value) -> ir.Value:
        """Where ScatterND puts the keys of tokens, given their rows, (N,), and slots, (N, T): (N, H, T, 3)."""
        graph, H = self._graph, self._n_heads
        length = graph.op("Shape", slots, start=1)
        shape = graph.op("Concat", graph.op("Shape", slots, end=1), graph.integers(H), length, axis=0)
        parts = [
            graph.op("Unsqueeze", rows, graph.integers(1, 2)),
            graph.constant(np.arange(H)[:, None], np.int64),
            graph.op("Unsqueeze", slots, graph.integers(1)),
        ]
        wide = [graph.op("Unsqueeze", graph.op("Expand", part, shape), graph.integers(3)) for part in parts]
        return graph.op("Concat", *wide, axis=3)

    def _write(self, name: str, new: ir.Value, places: ir.Value, n_slots: str) -> ir.Value:
        """The keys or values of an input with new ones, (N, H, T, K), in their places; an output of the graph."""
        written = self._graph.op("ScatterND", self._cache(f"past_{name}", n_slots), places, new)
        self._graph.output(name, written, self._graph.dtype, self._cache_shape(n_slots))
        return written

    def _cache(self, name: str, n_slots: str, dtype: ir.DataType | None = None) -> ir.Value:
        """An input of keys or values; of the graph's own type, where none is given."""
        return self._graph.input(name, dtype or self._graph.dtype, self._cache_shape(n_slots))

    def _cache_shape(self, n_slots: str) -> list[int | str]:
        return ["B", self._n_heads, n_slots, self._d_head]

    def _norm(self, name: str, x: ir.Value) -> ir.Value:
        """Layer norm; it may have no shift."""
        parts = [f"{name}.{part}" for part in ("weight", "bias") if f"{name}.{part}" in self._state]
        weights = [self._graph.weight(part, self._state[part]) for part in parts]
        return self._graph.op("LayerNormalization", x, *weights, axis=-1, epsilon=1e-5)

    def _rms_norm(self, name: str, x: ir.Value) -> ir.Value:
        """x over the root of its mean square, in the operators that ONNX Runtime makes one of when it loads them."""
        graph, scale = self._graph, self._graph.weight(f"{name}.weight", self._state[f"{name}.weight"])
        mean = graph.op("ReduceMean", graph.op("Pow", x, graph.floats(2.0)), graph.integers(-1), keepdims=1)
        root = graph.op("Sqrt", graph.op("Add", mean, graph.floats(1e-5)))
        return graph.op("Mul", graph.op("Div", x, root), scale)

    def _attend(self, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value, scale: float = 1.0) -> ir.Value:
        """Scaled dot-product attention under an additive mask; heads side by side again, (B, T, H, K)."""
        graph = self._graph
        scores = graph.op("FusedMatMul", q, k, domain=CONTRIB, transB=1, alpha=scale)
        heads = graph.op("MatMul", graph.op("Softmax", graph.op("Add", scores, mask), axis=-1), v)
        return graph.op("Transpose", heads, perm=[0, 2, 1, 3])

    def _additive(self, mask: ir.Value, *axes: int) -> ir.Value:
        """A mask as what is added to scores: 0 where True and -inf where False; with new dimensions."""
        graph = self._graph
        scores = graph.op("Where", mask, graph.floats(0.0), graph.floats(-math.inf))
        return graph.op("Unsqueeze", scores, graph.integers(*axes))
