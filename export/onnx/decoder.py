"""The language model as ONNX graphs, in the order and with the names of `heed.transformer.language_model`.

Two graphs compute the same and share their weights. Keys and values are (B, G, C, K) with G heads of them, those of a
token in the slot that it has:

    decoder: ids, positions, slots (B, T), mask (B, T, C), predicted (N), top (1), past_keys.L, past_values.L
          -> top_log_probs, top_ids (N, top), log_probs (N, V), keys.L, values.L
    stream: ids, positions (B, T), last (B), total (1), predicted (N), top (1), past_keys.L, past_values.L
          -> the same

Where keys and values are kept in integers, the stream reads a quarter of the bytes, and the decoder has the same
numbers in float32: many tokens at a time would turn integers into floats again and again. A third graph rounds what the
decoder has read to what the stream goes on with:

    rounding: past_keys.L, past_values.L -> keys.L, values.L

`predicted` numbers the tokens, row by row, after which to predict: of a prompt only the last one matters. The decoder
sees what a mask says, so hypotheses and samples of one prompt can stand side by side. The stream sees all that came
before, for a prompt or for one token a row, by an operator that does all of attention at once and is faster; `last` is
the slot of the last token of each row, and `total` the number of slots in use.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from heed.export.onnx.block import BOOL, FLOAT, INT64, StackWriter, State
from heed.export.onnx.blockwise import BITS, BlockGraphBuilder
from heed.export.onnx.builder import CONTRIB, GraphBuilder
from heed.export.onnx.weights import Weights
from heed.models.arrays import FloatArray
from heed.models.spec.config import LanguageModelConfig

PER_CHANNEL = "PER_CHANNEL"  # GroupQueryAttention's word for a scale of each dimension of each head
Attend = Callable[[str, ir.Value], ir.Value]


class TextNetworkWriter(StackWriter):
    """Writes one of the graphs.

    Args:
        name: Of the graph.
        config: The network's sizes.
        state: Its weights, by PyTorch's names.
        weights: Where they are stored.
        precision: Of matrix products: "float32", "float16", "int8" or "int4".
        scales: Of keys and values, (G, 1, K), by the names of their caches; none: they are kept as floats.
    """

    def __init__(
        self,
        name: str,
        config: LanguageModelConfig,
        state: State,
        weights: Weights,
        precision: str,
        scales: Mapping[str, FloatArray],
    ) -> None:
        builder = BlockGraphBuilder if precision in BITS else GraphBuilder
        super().__init__(builder(name, weights, precision), state, n_heads=config.n_kv_heads, d_head=config.d_head)
        self.config, self._scales = config, scales

    def decoder(self) -> GraphBuilder:
        """The graph of tokens that see what a mask says."""
        graph, config = self._graph, self.config
        ids = graph.input("ids", INT64, ["B", "T"])
        positions = graph.input("positions", INT64, ["B", "T"])
        slots = graph.input("slots", INT64, ["B", "T"])
        mask = graph.narrow(self._additive(graph.input("mask", BOOL, ["B", "T", "C"]), 1))  # (B, 1, T, C)
        places = self._places(graph.range(ids, 0), slots)
        group = config.n_heads // config.n_kv_heads
        if group > 1:
            mask = graph.op("Unsqueeze", mask, graph.integers(1))  # (B, 1, 1, T, C)

        def attend(number: str, qkv: ir.Value) -> ir.Value:
            q, k, v = (self._split_heads(part, ids) for part in self._parts(qkv))
            if config.positions == "rotary":
                q, k = (self._rotate(part, positions) for part in (q, k))
            k, v = (self._keep(f"{name}.{number}", new, places) for name, new in (("keys", k), ("values", v)))
            if group > 1:  # queries of a group side by side, (B, G, H/G, T, K)
                shape = graph.op("Concat", graph.integers(0, -1, group), graph.op("Shape", q, start=2), axis=0)
                q = graph.op("Reshape", q, shape)
                k, v = (graph.op("Unsqueeze", part, graph.integers(2)) for part in (k, v))
            return self._attend_groups(q, k, v, mask, ids)

        return self._graph_of(ids, positions, attend)

    def stream(self) -> GraphBuilder:
        """The graph of tokens that see all that came before."""
        graph, config = self._graph, self.config
        ids = graph.input("ids", INT64, ["B", "T"])
        positions = graph.input("positions", INT64, ["B", "T"])
        last = graph.input("last", ir.DataType.INT32, ["B"])
        total = graph.input("total", ir.DataType.INT32, [1])
        turned = config.positions == "rotary"
        tables = self._rotations() if turned else (None, None)
        dtype = ir.DataType.INT8 if self._scales else graph.dtype
        kept: dict[str, int | str] = {"k_quant_type": PER_CHANNEL, "v_quant_type": PER_CHANNEL, "kv_cache_bit_width": 8}

        def attend(number: str, qkv: ir.Value) -> ir.Value:
            names = [f"{part}.{number}" for part in ("keys", "values")]
            caches = [self._cache(f"past_{name}", "C", dtype) for name in names]
            scales = (None, None, None, *map(self._scale, names)) if self._scales else ()
            heads, *written = graph.several(
                "GroupQueryAttention",
                *(qkv, None, None, *caches, last, total, *tables, *scales),
                n=3,
                domain=CONTRIB,
                num_heads=config.n_heads,
                kv_num_heads=config.n_kv_heads,
                do_rotary=int(turned),
                **(kept if scales else {}),
            )
            for name, value in zip(names, written, strict=True):
                graph.output(name, value, dtype, self._cache_shape("C"))
            return heads

        return self._graph_of(ids, positions, attend)

    def rounding(self) -> GraphBuilder:
        """The graph that makes of the decoder's keys and values the stream's."""
        for name in self._scales:
            rounded = self._rounded(name, self._cache(f"past_{name}", "C", FLOAT))
            self._graph.output(name, rounded, ir.DataType.INT8, self._cache_shape("C"))
        return self._graph

    def _keep(self, name: str, new: ir.Value, places: ir.Value) -> ir.Value:
        """The decoder's keys or values with new ones, which are what the stream would have kept of them."""
        if self._scales:
            integers = self._graph.op("Cast", self._rounded(name, new), to=FLOAT)
            new = self._graph.op("Mul", integers, self._scale(name))
        return self._write(name, new, places, "C")

    def _rounded(self, name: str, x: ir.Value) -> ir.Value:
        """Keys or values, (B, G, T, K), in integers."""
        steps = self._graph.op("Div", x, self._scale(name))
        return self._graph.op("QuantizeLinear", steps, self._graph.floats(1.0), self._graph.constant(0, np.int8))

    def _scale(self, name: str) -> ir.Value:
        return self._graph.weight(f"{name}.scale", self._scales[name])

    def _graph_of(self, ids: ir.Value, positions: ir.Value, attend: Attend) -> GraphBuilder:
        graph, config = self._graph, self.config
        predicted, top = graph.input("predicted", INT64, ["N"]), graph.input("top", INT64, [1])
        x = graph.lookup(ids, "embedding", self._state["embedding.weight"])
        if config.positions == "learned":
            table = graph.weight("position_embedding", self._state["position_embedding.weight"])
            x = graph.op("Add", x, graph.op("Gather", table, positions))
        for number in range(config.n_layers):
            x = self._layer(number, x, attend)
        x = graph.op("Gather", graph.op("Reshape", x, graph.integers(-1, config.d_model)), predicted)
        logits = graph.wide(graph.linear(self._normed("norm", x), "embedding", self._state["embedding.weight"]))
        log_probs = graph.op("LogSoftmax", logits, axis=-1)
        top_log_probs, top_ids = graph.top(log_probs, graph.op("Min", top, graph.integers(config.vocab_size)))
        graph.output("top_log_probs", top_log_probs, FLOAT, ["N", "top"])
        graph.output("top_ids", top_ids, INT64, ["N", "top"])
        graph.output("log_probs", log_probs, FLOAT, ["N", config.vocab_size])
        return graph

    def _layer(self, number: int, x: ir.Value, attend: Attend) -> ir.Value:
        graph, name = self._graph, f"layers.{number}"
        normed = self._normed(f"{name}.self_residual.norm", x)
        heads = attend(str(number), self._query_key_value(f"{name}.self_attention", normed))
        x = graph.op("Add", x, graph.wide(self._linear(f"{name}.self_attention.output", heads)))
        normed = self._normed(f"{name}.feed_residual.norm", x)
        return graph.op("Add", x, graph.wide(self._feed_forward(f"{name}.feed_forward", normed)))

    def _normed(self, name: str, x: ir.Value) -> ir.Value:
        norm = self._rms_norm if self.config.norm == "rms" else self._norm
        return self._graph.narrow(norm(name, x))

    def _linear(self, name: str, x: ir.Value) -> ir.Value:
        return self._graph.linear(x, name, self._state[f"{name}.weight"], self._state.get(f"{name}.bias"))

    def _query_key_value(self, name: str, x: ir.Value) -> ir.Value:
        """Queries, keys and values in one product, (B, T, (H + 2 G) K)."""
        names = [f"{name}.{part}" for part in ("query", "key", "value")]
        matrix = np.concatenate([self._state[f"{part}.weight"] for part in names])
        biases = [self._state[f"{part}.bias"] for part in names if f"{part}.bias" in self._state]
        return self._graph.linear(x, f"{name}.qkv", matrix, np.concatenate(biases) if biases else None)

    def _parts(self, qkv: ir.Value) -> list[ir.Value]:
        K, G = self.config.d_head, self.config.n_kv_heads
        sizes = self._graph.integers(self.config.d_model, G * K, G * K)
        return list(self._graph.several("Split", qkv, sizes, n=3, axis=-1))

    def _attend_groups(self, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value, ids: ir.Value) -> ir.Value:
        """Attention of the queries of each group to its keys; (B, T, D)."""
        graph, scale = self._graph, self.config.d_head**-0.5
        scores = graph.op("FusedMatMul", q, k, domain=CONTRIB, transB=1, alpha=scale)
        heads = graph.op("MatMul", graph.op("Softmax", graph.op("Add", scores, mask), axis=-1), v)
        size = graph.op("Shape", ids, start=1)
        shape = graph.op("Concat", graph.integers(0, self.config.n_heads), size, graph.integers(-1), axis=0)
        heads = graph.op("Transpose", graph.op("Reshape", heads, shape), perm=[0, 2, 1, 3])  # (B, T, H, K)
        return graph.op("Reshape", heads, graph.integers(0, 0, -1))

    def _feed_forward(self, name: str, x: ir.Value) -> ir.Value:
        graph, inner = self._graph, self._linear(f"{name}.inner", x)
        if self.config.activation == "gelu":
            active = graph.op("FastGelu", inner, domain=CONTRIB)
        else:
            gate = self._linear(f"{name}.gate", x)
            active = graph.op("Mul", graph.op("QuickGelu", gate, domain=CONTRIB, alpha=1.0), inner)  # SiLU
        return self._linear(f"{name}.outer", active)

    def _rotate(self, x: ir.Value, positions: ir.Value) -> ir.Value:
        return self._graph.op("RotaryEmbedding", x, positions, *self._rotations(), domain=CONTRIB)

    def _rotations(self) -> tuple[ir.Value, ir.Value]:
        """Cosines and sines by which pairs of a head turn at each position, (context, K/2)."""
        K = self.config.d_head
        rates = np.exp(np.arange(0, K, 2, dtype=np.float32) * np.float32(-np.log(10000.0) / K))
        angles = np.arange(self.config.context, dtype=np.float32)[:, None] * rates
        stored = self._graph.dtype.numpy()
        cos, sin = np.cos(angles).astype(stored), np.sin(angles).astype(stored)
        return self._graph.weight("rotation.cos", cos), self._graph.weight("rotation.sin", sin)
