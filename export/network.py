"""The Transformer as two ONNX graphs, in the order and with the names of `heed.transformer`.

The encoder's graph computes what `Transformer.start` does, the decoder's what `Transformer.decode` does:

    encoder: src (B, S), src_mask (B, S)
          -> memory_keys.N, memory_values.N (B, H, S, K) for each decoder layer N
    decoder: tgt (B, T), positions (T), mask (B, T, P + T), src_mask (B, S), top (1), memory_keys.N,
             memory_values.N, past_keys.N, past_values.N (B, H, P, K)
          -> top_log_probs, top_ids (B, T, top), log_probs (B, T, V), keys.N, values.N (B, H, P + T, K)

T is a target's length where it is given whole, and the width of the beam where it is searched for.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from heed.export.graph import CONTRIB, GraphBuilder
from heed.export.weights import Weights
from heed.models.config import ModelConfig

FLOAT, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL

State = Mapping[str, npt.NDArray[np.float32]]


class NetworkWriter:
    """Writes one of the graphs.

    Args:
        name: Of the graph.
        config: The network's sizes.
        state: Its weights, by PyTorch's names.
        weights: Where they are stored.
        precision: Of matrix products.
    """

    def __init__(self, name: str, config: ModelConfig, state: State, weights: Weights, precision: str) -> None:
        self.config = config
        self._state = state
        self._graph = GraphBuilder(name, weights, precision)

    def encoder(self) -> GraphBuilder:
        """The graph of the encoder and the decoder's projections of its output."""
        graph, config = self._graph, self.config
        src = graph.input("src", INT64, ["B", "S"])
        mask = self._additive(graph.input("src_mask", BOOL, ["B", "S"]), 1, 2)  # (B, 1, 1, S)
        length = graph.op("Squeeze", graph.op("Shape", src, start=1, end=2))
        positions = graph.op("Range", graph.constant(0.0, np.int64), length, graph.constant(1.0, np.int64))
        x = self._embed("src_embedding", src, positions)
        for number in range(config.n_layers):
            x = self._encoder_layer(f"encoder.layers.{number}", x, mask)
        memory = self._final_norm("encoder", x)
        for number in range(config.n_layers):
            name = f"decoder.layers.{number}.cross_attention"
            keys, values = (self._heads(part) for part in self._project(memory, name, "key", "value"))
            graph.output(f"memory_keys.{number}", keys, FLOAT, ["B", config.n_heads, "S", config.d_head])
            graph.output(f"memory_values.{number}", values, FLOAT, ["B", config.n_heads, "S", config.d_head])
        return graph

    def decoder(self) -> GraphBuilder:
        """The graph of a step, or of a whole target."""
        graph, config = self._graph, self.config
        tgt = graph.input("tgt", INT64, ["B", "T"])
        positions = graph.input("positions", INT64, ["T"])
        mask = self._additive(graph.input("mask", BOOL, ["B", "T", "P + T"]), 1)  # (B, 1, T, P + T)
        src_mask = self._additive(graph.input("src_mask", BOOL, ["B", "S"]), 1, 2)  # (B, 1, 1, S)
        top = graph.input("top", INT64, [1])
        x = self._embed("tgt_embedding", tgt, positions)
        for number in range(config.n_layers):
            x = self._decoder_layer(number, x, mask, src_mask)
        x = self._final_norm("decoder", x)
        tied = "src_embedding" if config.tied_embeddings else "projection"
        logits = graph.linear(x, f"{tied}.weight", self._state[f"{tied}.weight"])
        log_probs = graph.op("LogSoftmax", logits, axis=-1)
        top_log_probs, top_ids = graph.top(log_probs, top)
        graph.output("top_log_probs", top_log_probs, FLOAT, ["B", "T", "top"])
        graph.output("top_ids", top_ids, INT64, ["B", "T", "top"])
        graph.output("log_probs", log_probs, FLOAT, ["B", "T", config.tgt_vocab_size])
        return graph

    def _encoder_layer(self, name: str, x: ir.Value, mask: ir.Value) -> ir.Value:
        def attend(x: ir.Value) -> ir.Value:
            q, k, v = (
                self._heads(part) for part in self._project(x, f"{name}.self_attention", "query", "key", "value")
            )
            return self._attention(f"{name}.self_attention", q, k, v, mask)

        x = self._residual(f"{name}.self_residual", x, attend)
        return self._residual(f"{name}.feed_residual", x, lambda x: self._feed_forward(f"{name}.feed_forward", x))

    def _decoder_layer(self, number: int, x: ir.Value, mask: ir.Value, src_mask: ir.Value) -> ir.Value:
        name = f"decoder.layers.{number}"

        def attend_to_self(x: ir.Value) -> ir.Value:
            q, k, v = (
                self._heads(part) for part in self._project(x, f"{name}.self_attention", "query", "key", "value")
            )
            k, v = self._extend(f"keys.{number}", k), self._extend(f"values.{number}", v)
            return self._attention(f"{name}.self_attention", q, k, v, mask)

        def attend_to_memory(x: ir.Value) -> ir.Value:
            (query,) = self._project(x, f"{name}.cross_attention", "query")
            k, v = (self._cached(f"memory_{part}.{number}", "S") for part in ("keys", "values"))
            return self._attention(f"{name}.cross_attention", self._heads(query), k, v, src_mask)

        x = self._residual(f"{name}.self_residual", x, attend_to_self)
        x = self._residual(f"{name}.cross_residual", x, attend_to_memory)
        return self._residual(f"{name}.feed_residual", x, lambda x: self._feed_forward(f"{name}.feed_forward", x))

    def _embed(self, name: str, ids: ir.Value, positions: ir.Value) -> ir.Value:
        """Embeddings times √d_model, plus sinusoids."""
        graph, d_model = self._graph, self.config.d_model
        name = "src_embedding" if self.config.tied_embeddings else name
        embedded = graph.lookup(ids, f"{name}.weight", self._state[f"{name}.weight"])
        scaled = graph.op("Mul", embedded, graph.floats(math.sqrt(d_model)))
        rates = np.exp(np.arange(0, d_model, 2, dtype=np.float32) * np.float32(-math.log(10000.0) / d_model))
        columns = graph.op("Unsqueeze", graph.op("Cast", positions, to=FLOAT), graph.integers(1))
        angles = graph.op("Unsqueeze", graph.op("Mul", columns, graph.floats(rates)), graph.integers(2))  # (T, D/2, 1)
        pairs = graph.op("Concat", graph.op("Sin", angles), graph.op("Cos", angles), axis=2)
        return graph.op("Add", scaled, graph.op("Reshape", pairs, graph.integers(-1, d_model)))

    def _project(self, x: ir.Value, name: str, *parts: str) -> list[ir.Value]:
        """x times several projections of an attention, in one product."""
        matrix = np.concatenate([self._state[f"{name}.{part}.weight"] for part in parts])
        y = self._graph.linear(x, f"{name}.{'_'.join(parts)}", matrix)
        return list(self._graph.split(y, len(parts))) if len(parts) > 1 else [y]

    def _heads(self, x: ir.Value) -> ir.Value:
        shape = self._graph.integers(0, 0, self.config.n_heads, self.config.d_head)
        return self._graph.op("Transpose", self._graph.op("Reshape", x, shape), perm=[0, 2, 1, 3])  # (B, H, T, K)

    def _extend(self, name: str, new: ir.Value) -> ir.Value:
        """The cached keys or values with the new ones after them; an input and an output of the graph."""
        extended = self._graph.op("Concat", self._cached(f"past_{name}", "P"), new, axis=2)
        self._graph.output(name, extended, FLOAT, ["B", self.config.n_heads, "P + T", self.config.d_head])
        return extended

    def _cached(self, name: str, length: str) -> ir.Value:
        """An input of keys or values."""
        return self._graph.input(name, FLOAT, ["B", self.config.n_heads, length, self.config.d_head])

    def _attention(self, name: str, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value) -> ir.Value:
        graph = self._graph
        scores = graph.op("FusedMatMul", q, k, domain=CONTRIB, transB=1, alpha=self.config.d_head**-0.5)
        heads = graph.op("MatMul", graph.op("Softmax", graph.op("Add", scores, mask), axis=-1), v)
        flat = graph.op("Reshape", graph.op("Transpose", heads, perm=[0, 2, 1, 3]), graph.integers(0, 0, -1))
        return graph.linear(flat, f"{name}.output", self._state[f"{name}.output.weight"])

    def _feed_forward(self, name: str, x: ir.Value) -> ir.Value:
        for part in ("inner", "outer"):
            x = self._graph.linear(
                x,
                f"{name}.{part}",
                self._state[f"{name}.{part}.weight"],
                self._state[f"{name}.{part}.bias"],
            )
            x = self._graph.op("Relu", x) if part == "inner" else x
        return x

    def _residual(self, name: str, x: ir.Value, sublayer: Callable[[ir.Value], ir.Value]) -> ir.Value:
        if self.config.norm == "pre":
            return self._graph.op("Add", x, sublayer(self._norm(f"{name}.norm", x)))
        return self._norm(f"{name}.norm", self._graph.op("Add", x, sublayer(x)))

    def _final_norm(self, stack: str, x: ir.Value) -> ir.Value:
        return self._norm(f"{stack}.norm", x) if self.config.norm == "pre" else x

    def _norm(self, name: str, x: ir.Value) -> ir.Value:
        scale, shift = (
            self._graph.weight(f"{name}.{part}", self._state[f"{name}.{part}"]) for part in ("weight", "bias")
        )
        return self._graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)

    def _additive(self, mask: ir.Value, *axes: int) -> ir.Value:
        """A mask as what is added to scores: 0 where True and -inf where False; with new dimensions."""
        graph = self._graph
        scores = graph.op("Where", mask, graph.floats(0.0), graph.floats(-math.inf))
        return graph.op("Unsqueeze", scores, graph.integers(*axes))
