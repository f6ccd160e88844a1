"""The parts of a stack's layers, in the order and with the names of `heed.transformer.block`."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from heed.export.onnx import positions as position_writer
from heed.export.onnx.builder import CONTRIB, GraphBuilder
from heed.models.spec.network import NetworkSpec

FLOAT, INT32, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL

State = Mapping[str, npt.NDArray[np.float32]]
Sublayer = Callable[[ir.Value], ir.Value]


class LiveTokens(NamedTuple):
    """Which of B · T tokens are computed: products are made for their rows alone."""

    tokens: ir.Value  # their numbers, row by row, (R,)
    rows: ir.Value  # the row of each token, (B, T); any row for those that are not computed


class StackWriter:
    """Writes the parts of an encoder or a decoder except attention.

    What goes from layer to layer is (R, D) with a row for each of B · T tokens, or for those that are live, where a
    graph's products are made for many rows, and (B, T, D) where they are made for few: "(…, D)".

    Args:
        graph: The graph to extend.
        state: The network's weights, by the names of `heed.models.spec.parameters`.
        spec: The network's description.
        name: "encoder" or "decoder".
        live: The tokens that are computed; None: all.
    """

    def __init__(
        self, graph: GraphBuilder, state: State, spec: NetworkSpec, name: str, live: LiveTokens | None = None
    ) -> None:
        self.graph, self.state, self.spec, self.name, self.live = graph, state, spec, name, live
        self.stack = spec.stacks[name]

    def embed(self, ids: ir.Value, positions: ir.Value) -> ir.Value:
        """The embeddings of token ids, (B, T), at positions, (1 or B, 1 or T): (…, D)."""
        graph, spec = self.graph, self.spec
        name, table = spec.embedding_of(self.name), f"{self.name}.positions"
        factor = math.sqrt(spec.d_model) if spec.scale_embedding else 1.0
        x = graph.lookup(ids, name, self.state[f"{name}.weight"], factor)
        learned = self.state.get(f"{table}.weight")
        added = position_writer.added(graph, self.stack.positions, positions, learned, table, spec.d_model)
        x = x if added is None else graph.op("Add", x, added)
        if graph.many_rows:
            x = self.by_row(x)
        return self.norm(f"{self.name}.embedding_norm", x) if self.stack.norm.embedding else x

    def by_row(self, x: ir.Value) -> ir.Value:
        """x of B · T tokens, (…, D), for those that are computed: (R, D)."""
        return self._gathered(self.graph.op("Reshape", x, self.graph.integers(-1, self.spec.d_model)))

    def _gathered(self, x: ir.Value) -> ir.Value:
        """The rows of x, (B · T, …), that are computed: (R, …)."""
        return x if self.live is None else self.graph.op("Gather", x, self.live.tokens)

    def linear(self, name: str, x: ir.Value, *, rectified: bool = False) -> ir.Value:
        """x, (…, D), through a projection of the network."""
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        return self.graph.linear(x, name, weight, bias, rectified=rectified)

    def norm(self, name: str, x: ir.Value) -> ir.Value:
        """x, (…, D), normalized by a norm of the network."""
        spec, graph = self.stack.norm, self.graph
        if spec.kind == "rms":
            return self.rms_norm(name, x)
        parts = [f"{name}.{part}" for part in ("weight", "bias") if f"{name}.{part}" in self.state]
        weights = [graph.weight(part, self.state[part]) for part in parts]
        return graph.op("LayerNormalization", x, *weights, axis=-1, epsilon=spec.eps)

    def rms_norm(self, name: str, x: ir.Value, factor: float = 1.0) -> ir.Value:
        """RMS norm, in operators that ONNX Runtime fuses when it loads the graph."""
        graph = self.graph
        scale = graph.weight(f"{name}.weight", self.state[f"{name}.weight"] * np.float32(factor))
        mean = graph.op("ReduceMean", graph.op("Pow", x, graph.floats(2.0)), graph.integers(-1), keepdims=1)
        root = graph.op("Sqrt", graph.op("Add", mean, graph.floats(self.stack.norm.eps)))
        return graph.op("Mul", graph.op("Div", x, root), scale)

    def residual(self, name: str, x: ir.Value, sublayer: Sublayer) -> ir.Value:
        """A residual connection around a sub-layer, with the norm before or after."""
        graph = self.graph
        if self.stack.norm.placement == "before":
            return graph.op("Add", x, graph.wide(sublayer(graph.narrow(self.norm(f"{name}.norm", x)))))
        return self.norm(f"{name}.norm", graph.op("Add", x, graph.wide(sublayer(graph.narrow(x)))))

    def last(self, x: ir.Value) -> ir.Value:
        """The last norm of the stack, if there is one."""
        return self.graph.narrow(self.norm(f"{self.name}.norm", x) if self.stack.norm.last else x)

    def feed_forward(self, name: str, x: ir.Value) -> ir.Value:
        """x, (…, D), through a feed-forward network."""
        spec, inner = self.stack.feed_forward, self.linear(f"{name}.inner", x)
        if spec.gated:
            active = self._activated(self.linear(f"{name}.gate", x), spec.activation)
            return self.linear(f"{name}.outer", self.graph.op("Mul", active, inner))
        if spec.rectifies:  # a product of integers includes the ReLU at no cost
            return self.linear(f"{name}.outer", inner, rectified=True)
        return self.linear(f"{name}.outer", self._activated(inner, spec.activation))

    def output_transform(self, x: ir.Value) -> ir.Value:
        """Final states, (…, D), through the layer before the output matrix, if there is one."""
        activation, name = self.spec.output_transform, "output_transform"
        if activation is None:
            return x
        dense = self._activated(self.linear(f"{name}.dense", x), activation)
        return self.graph.narrow(self.norm(f"{name}.norm", self.graph.wide(dense)))

    def _activated(self, x: ir.Value, activation: str) -> ir.Value:
        graph = self.graph
        match activation:
            case "relu":
                return graph.op("Relu", x)
            case "gelu":
                return graph.op("Gelu", x)
            case "gelu_tanh":
                return graph.op("FastGelu", x, domain=CONTRIB)
            case _:
                return graph.op("QuickGelu", x, domain=CONTRIB, alpha=1.0)  # SiLU

    def soft_cap(self, x: ir.Value, cap: float | None, *, wide: bool = False) -> ir.Value:
        """c · tanh(x / c), if there is a c; x is in float32 if `wide`, else in the precision of products."""
        if cap is None:
            return x
        graph = self.graph
        limit = graph.floats(cap) if wide else graph.constant(cap, graph.dtype.numpy())
        return graph.op("Mul", graph.op("Tanh", graph.op("Div", x, limit)), limit)
