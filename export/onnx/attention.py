"""Attention in graphs: heads, masks and variants.

Keys and values are (B, G, C, K) with G key-value heads. `write` puts those of new tokens into slots with ScatterND,
which works in place if an output is bound to its input's memory. `attend` uses an additive mask. `stream` computes
causal attention to all earlier tokens in one operator.
"""

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from heed.export.onnx import positions as position_writer
from heed.export.onnx.block import FLOAT, LiveTokens, StackWriter, State
from heed.export.onnx.builder import CONTRIB, GraphBuilder
from heed.models.arrays import FloatArray
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import RelativeBuckets, Rotary

PER_CHANNEL = "PER_CHANNEL"  # GroupQueryAttention's name for a scale per channel
Scales = Mapping[str, FloatArray]  # scales of an integer KV cache, (G, 1, K), by the names of the caches


def can_stream(spec: NetworkSpec) -> bool:
    """Whether GroupQueryAttention computes a network's attention: that of a decoder alone, in heads that fit it."""
    if spec.encoder is not None or spec.decoder is None:
        return False
    attention, positions = spec.decoder.attention, spec.decoder.positions
    if isinstance(positions, Rotary):
        return attention.d_head % 16 == 0 and (positions.d_rotary or attention.d_head) % 16 == 0
    return attention.d_head % 8 == 0 and not isinstance(positions, RelativeBuckets)


class AttentionWriter(StackWriter):
    """Writes the attention of a stack.

    Queries include the scale of scores, so that scores are a plain product, for which ONNX Runtime has a kernel for
    single queries that is twice as fast.

    Args:
        graph: Where it is put.
        state: The network's weights.
        spec: The network's description.
        name: "encoder" or "decoder".
        live: The tokens that are computed; None: all.
        scales: Of keys and values; none: they are kept as floats.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        state: State,
        spec: NetworkSpec,
        name: str,
        live: LiveTokens | None = None,
        scales: Scales | None = None,
    ) -> None:
        super().__init__(graph, state, spec, name, live)
        self.attention, self.scales = self.stack.attention, scales or {}

    # Heads

    def self_heads(self, name: str, x: ir.Value, ids: ir.Value, positions: ir.Value) -> list[ir.Value]:
        """Queries, (B, H, T, K), keys and values, (B, G, T, K), of x, rotated by position."""
        if self._packed:
            heads, attention = self._split_heads(self._packed_projection(name, x), ids), self.attention
            sizes = self.graph.integers(attention.n_heads, attention.n_kv_heads, attention.n_kv_heads)
            q, k, v = self.graph.several("Split", heads, sizes, n=3, axis=1)
        else:
            q, k, v = (self.heads(name, part, x, ids) for part in ("query", "key", "value"))
        return [self._rotated(q, positions), self._rotated(k, positions), v]

    def heads(self, name: str, part: str, x: ir.Value, ids: ir.Value) -> ir.Value:
        """The "query", "key" or "value" heads of x, without rotation: (B, H, T, K)."""
        return self._normed(name, part, self._split_heads(self._projected(name, part, x), ids))

    @property
    def _packed(self) -> bool:
        """Whether one product computes queries, keys and values, which are not normalized separately."""
        return not self.attention.qk_norm

    def _packed_projection(self, name: str, x: ir.Value) -> ir.Value:
        weights = [self._weights(name, part) for part in ("query", "key", "value")]
        biases = [bias for _, bias in weights if bias is not None]
        matrix = np.concatenate([weight for weight, _ in weights])
        return self._projection(name, "qkv", x, matrix, np.concatenate(biases) if biases else None)

    def _projected(self, name: str, part: str, x: ir.Value) -> ir.Value:
        weight, bias = self._weights(name, part)
        return self._projection(name, part, x, weight, bias)

    def _projection(self, name: str, part: str, x: ir.Value, matrix: FloatArray, bias: FloatArray | None) -> ir.Value:
        """The projection of x to a part of an attention, or to "qkv", all three."""
        return self.graph.linear(x, f"{name}.{part}", matrix, bias)

    def _weights(self, name: str, part: str) -> tuple[FloatArray, FloatArray | None]:
        """The matrix and bias of a projection; those of queries include the scale of scores, unless a norm follows."""
        scaled = part == "query" and not self.attention.qk_norm
        factor = np.float32(self.attention.score_scale if scaled else 1)
        bias = self.state.get(f"{name}.{part}.bias")
        return self.state[f"{name}.{part}.weight"] * factor, None if bias is None else bias * factor

    def _width(self, part: str) -> int:
        return self.attention.d_heads if part == "query" else self.attention.d_kv_heads

    def _normed(self, name: str, part: str, x: ir.Value) -> ir.Value:
        """Queries or keys after their norm, if there is one; x is (…, K)."""
        if not self.attention.qk_norm or part == "value":
            return x
        factor = self.attention.score_scale if part == "query" else 1.0
        return self.graph.narrow(self.rms_norm(f"{name}.{part}_norm", self.graph.wide(x), factor))

    def _split_heads(self, x: ir.Value, ids: ir.Value) -> ir.Value:
        """Split x, (…, H K), of ids, (B, T), into heads: (B, H, T, K)."""
        graph = self.graph
        split = graph.integers(0, 0, -1, self.attention.d_head)
        return graph.op("Transpose", graph.op("Reshape", self.by_token(x, ids), split), perm=[0, 2, 1, 3])

    def by_token(self, x: ir.Value, ids: ir.Value) -> ir.Value:
        """x, (…, D), for each of ids, (B, T): (B, T, D); anything for those that are not computed."""
        graph = self.graph
        if self.live is not None:
            return graph.op("Gather", x, self.live.rows)
        shape = graph.op("Concat", graph.op("Shape", ids), graph.integers(-1), axis=0)
        return graph.op("Reshape", x, shape) if graph.many_rows else x

    def _rotated(self, x: ir.Value, positions: ir.Value) -> ir.Value:
        """x, (B, H, T, K), rotated by positions, (B, T)."""
        spec = self.stack.positions
        if not isinstance(spec, Rotary):
            return x
        partial = {} if spec.d_rotary is None else {"rotary_embedding_dim": spec.d_rotary, "num_heads": 1}
        return self.graph.op(
            "RotaryEmbedding",
            *(x, positions, *self._rotations(spec)),
            domain=CONTRIB,
            interleaved=int(spec.interleaved),
            **partial,
        )

    def _rotations(self, spec: Rotary) -> tuple[ir.Value, ir.Value]:
        cos, sin = (
            table.astype(self.graph.dtype.numpy()) for table in position_writer.rotations(spec, self.attention.d_head)
        )
        return self.graph.weight(f"{self.name}.cos", cos), self.graph.weight(f"{self.name}.sin", sin)

    # Masks

    def additive(self, mask: ir.Value, *axes: int) -> ir.Value:
        """An additive mask: 0 where True and -inf where False; with new axes."""
        graph = self.graph
        scores = graph.op("Where", mask, graph.floats(0.0), graph.floats(-math.inf))
        return graph.op("Unsqueeze", scores, graph.integers(*axes)) if axes else scores

    def near(self, distances: ir.Value) -> ir.Value | None:
        """True where distances are within the window; None if there is no window."""
        if self.attention.window is None:
            return None
        graph = self.graph
        return graph.op("Less", graph.op("Abs", distances), graph.constant(self.attention.window, np.int64))

    def bias(self, distances: ir.Value, *, causal: bool) -> ir.Value | None:
        """The bias of relative positions for distances, (B, T, C): (B, H, T, C); None if there is none."""
        spec = self.stack.positions
        if not isinstance(spec, RelativeBuckets):
            return None
        graph, name = self.graph, f"{self.name}.relative_bias"
        least = 0 if causal else -spec.max_distance
        each = graph.constant(position_writer.distance_buckets(spec, causal=causal), np.int64)
        table = graph.op(
            "Gather", graph.weight(name, self.state[f"{name}.weight"]), each
        )  # folded when the graph is loaded
        bounds = [graph.constant(bound, np.int64) for bound in (least, spec.max_distance)]
        place = graph.op("Sub", graph.op("Clip", distances, *bounds), bounds[0])
        return graph.op("Transpose", graph.op("Gather", table, place), perm=[0, 3, 1, 2])

    # Keys and values

    def cache(self, name: str, n_slots: str, dtype: ir.DataType | None = None) -> ir.Value:
        """An input of keys or values, by default in the graph's type."""
        return self.graph.input(name, dtype or self.graph.dtype, self.cache_shape(n_slots))

    def cache_shape(self, n_slots: str) -> list[int | str]:
        """The shape of an input or output of keys or values."""
        return ["B", self.attention.n_kv_heads, n_slots, self.attention.d_head]

    def places(self, rows: ir.Value, slots: ir.Value, n_heads: int | None = None) -> ir.Value:
        """ScatterND's indices for tokens in rows, (N,), and slots, (N, T), by default of keys: (N, G, T, 3)."""
        graph, G = self.graph, n_heads or self.attention.n_kv_heads
        length = graph.op("Shape", slots, start=1)
        shape = graph.op("Concat", graph.op("Shape", slots, end=1), graph.integers(G), length, axis=0)
        parts = [
            graph.op("Unsqueeze", rows, graph.integers(1, 2)),
            graph.constant(np.arange(G)[:, None], np.int64),
            graph.op("Unsqueeze", slots, graph.integers(1)),
        ]
        wide = [graph.op("Unsqueeze", graph.op("Expand", part, shape), graph.integers(3)) for part in parts]
        return graph.op("Concat", *wide, axis=3)

    def write(self, name: str, new: ir.Value, places: ir.Value, n_slots: str) -> ir.Value:
        """Write new keys or values, (N, G, T, K), into those of an input; an output of the graph.

        If the stream's cache is in integers, new ones are rounded accordingly.
        """
        if name in self.scales:
            new = self.graph.op("Mul", self.graph.op("Cast", self.rounded(name, new), to=FLOAT), self.scale(name))
        written = self.graph.op("ScatterND", self.cache(f"past_{name}", n_slots), places, new)
        self.graph.output(name, written, self.graph.dtype, self.cache_shape(n_slots))
        return written

    def write_memory(
        self,
        number: int,
        memory: ir.Value,
        src: ir.Value,
        rows: ir.Value,  # noqa: ARG002 - that of a subclass needs them
        places: ir.Value,
    ) -> None:
        """Write the keys and values that a decoder's layer has of sources, outputs of the encoder's graph.

        Args:
            number: Number of the layer.
            memory: The encoder's states, (…, D).
            src: Token ids of the sources, (N, S).
            rows: Their rows in the batch, (N,).
            places: Indices of their tokens; see `places`.
        """
        for part in ("key", "value"):
            heads = self.heads(f"{self.name}.layers.{number}.cross_attention", part, memory, src)
            self.write(f"memory_{part}s.{number}", heads, places, "M")

    def rounded(self, name: str, x: ir.Value) -> ir.Value:
        """Keys or values, (B, G, T, K), rounded to integers."""
        steps = self.graph.op("Div", x, self.scale(name))
        return self.graph.op("QuantizeLinear", steps, self.graph.floats(1.0), self.graph.constant(0, np.int8))

    def scale(self, name: str) -> ir.Value:
        """The scales of keys or values."""
        return self.graph.weight(f"{name}.scale", self.scales[name])

    # The variants

    def attend(
        self,
        name: str,
        q: ir.Value,
        k: ir.Value,
        v: ir.Value,
        mask: ir.Value,
        ids: ir.Value,
        *,
        by_head: bool | None = None,
    ) -> ir.Value:
        """Attention of queries, (B, H, T, K), to keys and values, (B, G, C, K).

        The mask is additive, (B, 1 or H, 1 or T, C).

        By default, the positions decide whether the mask differs by head.

        Returns:
            The projected heads, (…, D), for ids, (B, T).
        """
        graph, group = self.graph, self.attention.n_heads // self.attention.n_kv_heads
        if group > 1:  # queries by group, (B, G, H/G, T, K)
            relative = isinstance(self.stack.positions, RelativeBuckets) if by_head is None else by_head
            q = self._grouped(q, group)
            mask = self._grouped(mask, group) if relative else graph.op("Unsqueeze", mask, graph.integers(1))
            k, v = (graph.op("Unsqueeze", part, graph.integers(2)) for part in (k, v))
        scores = self.soft_cap(self._scores(name, q, k), self.attention.soft_cap)
        heads = self._weighted(name, graph.op("Softmax", graph.op("Add", scores, mask), axis=-1), v)
        if group > 1:
            sizes = graph.integers(0, self.attention.n_heads), graph.op("Shape", ids, start=1), graph.integers(-1)
            shape = graph.op("Concat", *sizes, axis=0)
            heads = graph.op("Reshape", heads, shape)
        return self._joined(name, graph.op("Transpose", heads, perm=[0, 2, 1, 3]))

    def _scores(self, name: str, q: ir.Value, k: ir.Value) -> ir.Value:  # noqa: ARG002 - that of a subclass needs it
        """Queries, (…, T, K), times keys, (…, C, K): (…, T, C)."""
        return self.graph.op("FusedMatMul", q, k, domain=CONTRIB, transB=1)

    def _weighted(self, name: str, weights: ir.Value, v: ir.Value) -> ir.Value:  # noqa: ARG002
        """Sums of values, (…, C, K), by their weights, (…, T, C): (…, T, K)."""
        return self.graph.op("MatMul", weights, v)

    def _grouped(self, x: ir.Value, group: int) -> ir.Value:
        """Group heads, (B, H, T, K), or their masks: (B, G, H/G, T, K)."""
        graph = self.graph
        shape = graph.op("Concat", graph.integers(0, -1, group), graph.op("Shape", x, start=2), axis=0)
        return graph.op("Reshape", x, shape)

    def _joined(self, name: str, heads: ir.Value) -> ir.Value:
        """The output projection of heads, (B, T, H, K) or joined: (…, D)."""
        graph, width = self.graph, self.attention.d_heads
        shape = graph.integers(-1, width) if graph.many_rows else graph.integers(0, 0, width)
        return self.linear(f"{name}.output", self._gathered(graph.op("Reshape", heads, shape)))

    def stream(self, number: int, x: ir.Value, ids: ir.Value, last: ir.Value, total: ir.Value) -> ir.Value:
        """Causal self-attention of a layer; keys and values are inputs and outputs of the graph.

        Args:
            number: Number of the layer.
            x: Its input, (…, D).
            ids: Token ids, (B, T).
            last: Slot of the last token of each row, (B,).
            total: Number of slots in use, (1,).
        """
        graph, spec, name = self.graph, self.stack.positions, f"{self.name}.layers.{number}.self_attention"
        names = [f"{part}.{number}" for part in ("keys", "values")]
        dtype = ir.DataType.INT8 if self.scales else graph.dtype
        caches = [self.cache(f"past_{each}", "C", dtype) for each in names]
        tables = self._rotations(spec) if isinstance(spec, Rotary) else (None, None)
        scales = (None, None, None, *map(self.scale, names)) if self.scales else ()
        heads, *written = graph.several(
            "GroupQueryAttention",
            *(*self._stream_inputs(name, x, ids), *caches, last, total, *tables, *scales),
            n=3,
            domain=CONTRIB,
            **self._stream_attributes(),
        )
        for each, value in zip(names, written, strict=True):
            graph.output(each, value, dtype, self.cache_shape("C"))
        return self._joined(name, heads)

    def _stream_inputs(self, name: str, x: ir.Value, ids: ir.Value) -> list[ir.Value | None]:
        """Queries, keys and values, (B, T, H K) each, or packed in the first."""
        if self._packed:
            return [self.by_token(self._packed_projection(name, x), ids), None, None]
        graph, found = self.graph, list[ir.Value | None]()
        for part in ("query", "key", "value"):
            projected = self.by_token(self._projected(name, part, x), ids)
            split = graph.op("Reshape", projected, graph.integers(0, 0, -1, self.attention.d_head))
            heads = self._normed(name, part, split)
            found.append(graph.op("Reshape", heads, graph.integers(0, 0, self._width(part))))
        return found

    def _stream_attributes(self) -> dict[str, int | float | str]:
        attention, positions = self.attention, self.stack.positions
        found: dict[str, int | float | str] = {
            "num_heads": attention.n_heads,
            "kv_num_heads": attention.n_kv_heads,
            "do_rotary": int(isinstance(positions, Rotary)),
            "scale": 1.0,  # queries include it
        }
        if isinstance(positions, Rotary):
            found["rotary_interleaved"] = int(positions.interleaved)
        if attention.window is not None:
            found["local_window_size"] = attention.window
        if attention.soft_cap is not None:
            found["softcap"] = attention.soft_cap
        if self.scales:
            found |= {"k_quant_type": PER_CHANNEL, "v_quant_type": PER_CHANNEL, "kv_cache_bit_width": 8}
        return found
