"""Attention in integers: queries, keys, values and weights as bytes, so that a step reads a quarter of the memory.

A step of decoding reads all keys and values of a batch, tens of megabytes, which a processor's cache does not hold. As
bytes they take a quarter of the time to read, and their small products are faster, too.

The processor's instruction takes unsigned rows and signed columns. Keys of earlier tokens lie in memory as rows, so
their scores are computed as keys times queries, and turned. Keys of the source, which are written once, lie as columns.
Scales of queries, keys and values are part of the products that make them, so rounding is to whole numbers.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from heed.export.onnx.attention import AttentionWriter
from heed.export.onnx.block import LiveTokens, State
from heed.export.onnx.builder import CONTRIB, LEVELS, MIDDLE, GraphBuilder
from heed.export.onnx.rowwise import LARGEST as COLUMN_LEVELS
from heed.models.arrays import FloatArray
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Rotary

UINT8, INT8 = ir.DataType.UINT8, ir.DataType.INT8


class AttentionScales(NamedTuple):
    """What a whole number stands for in an attention."""

    queries: FloatArray  # times that of keys: of the scores of each head, (H,)
    keys: FloatArray  # (H, K)
    values: FloatArray  # (H, K)


def fits_integers(spec: NetworkSpec) -> bool:
    """Whether a network's decoder can attend in integers: its scales must pass through to its projections."""
    if spec.encoder is None or spec.decoder is None or spec.decoder.recurrence is not None:
        return False
    attention = spec.decoder.attention
    is_plain = attention.n_heads == attention.n_kv_heads and not attention.qk_norm
    return is_plain and not isinstance(spec.decoder.positions, Rotary)


class IntegerAttentionWriter(AttentionWriter):
    """Writes the attention of a decoder in integers.

    Args:
        graph: Where it is put.
        state: The network's weights.
        spec: The network's description; see `fits_integers`.
        scales: By the names of attentions.
        live: The tokens that are computed; None: all.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        state: State,
        spec: NetworkSpec,
        scales: Mapping[str, AttentionScales],
        live: LiveTokens | None = None,
    ) -> None:
        super().__init__(graph, state, spec, "decoder", live)
        self._attention_scales = scales

    def _projection(self, name: str, part: str, x: ir.Value, matrix: FloatArray, bias: FloatArray | None) -> ir.Value:
        """See `AttentionWriter`; whole numbers."""
        scales = self._attention_scales[name]
        steps = {"query": scales.queries[:, None] / scales.keys, "key": scales.keys, "value": scales.values}
        chosen = list(steps.values()) if part == "qkv" else [steps[part]]
        by = np.concatenate([each.ravel() for each in chosen])
        return self.graph.in_steps(x, f"{name}.{part}", matrix, bias, by)

    # Keys and values

    def cache(self, name: str, n_slots: str, dtype: ir.DataType | None = None) -> ir.Value:
        """See `AttentionWriter`; bytes."""
        shape = self._turned_shape(n_slots) if "memory_keys" in name else self.cache_shape(n_slots)
        return self.graph.input(name, dtype or _type(name), shape)

    def _turned_shape(self, n_slots: str) -> list[int | str]:
        return ["B", self.attention.n_kv_heads, self.attention.d_head, n_slots]

    def write(self, name: str, new: ir.Value, places: ir.Value, n_slots: str) -> ir.Value:
        """See `AttentionWriter`; new keys or values are whole numbers in floats."""
        return self._written(name, self._bytes(new, _type(name)), places, n_slots)

    def _written(self, name: str, new: ir.Value, places: ir.Value, n_slots: str) -> ir.Value:
        """Bytes written into those of an input; an output of the graph."""
        written = self.graph.op("ScatterND", self.cache(f"past_{name}", n_slots), places, new)
        self.graph.output(name, written, _type(name), self.cache_shape(n_slots))
        return written

    def write_memory(self, number: int, memory: ir.Value, src: ir.Value, rows: ir.Value, places: ir.Value) -> None:
        """See `AttentionWriter`; keys are turned, and what follows a source in its row becomes zeros."""
        graph, name = self.graph, f"{self.name}.layers.{number}.cross_attention"
        # Bytes are turned and padded in a third of the time that floats take.
        split = graph.integers(0, 0, -1, self.attention.d_head)
        keys, values = (self.by_token(self._projected(name, part, memory), src) for part in ("key", "value"))
        values = graph.op("Reshape", self._bytes(values, INT8), split)
        self._written(f"memory_values.{number}", graph.op("Transpose", values, perm=[0, 2, 1, 3]), places, "M")

        keys, past = graph.op("Reshape", self._columns(keys), split), self.cache(f"past_memory_keys.{number}", "M")
        lacking = graph.op("Sub", graph.op("Shape", past, start=3), graph.op("Shape", keys, start=1, end=2))
        pads = graph.op("Concat", graph.integers(*[0] * 5), lacking, graph.integers(0, 0), axis=0)
        padded = graph.op("Transpose", graph.op("Pad", keys, pads), perm=[0, 2, 3, 1])
        written = graph.op("ScatterND", past, graph.op("Unsqueeze", rows, graph.integers(1)), padded)
        graph.output(f"memory_keys.{number}", written, INT8, self._turned_shape("M"))

    # Products

    def _scores(self, name: str, q: ir.Value, k: ir.Value) -> ir.Value:
        """See `AttentionWriter`."""
        graph, scales = self.graph, self._by_head(f"{name}.score_scales", self._attention_scales[name].queries[:, None])
        if name.endswith("cross_attention"):
            return self._byte_product(self._bytes(q, UINT8), k, MIDDLE, 1.0, scales)
        columns = graph.op("Transpose", self._columns(q), perm=[0, 1, 3, 2])
        return graph.op("Transpose", self._byte_product(k, columns, MIDDLE, 1.0, scales), perm=[0, 1, 3, 2])

    def _weighted(self, name: str, weights: ir.Value, v: ir.Value) -> ir.Value:
        """See `AttentionWriter`."""
        step = 1 / LEVELS  # weights are between 0 and 1
        rows = self.graph.op("QuantizeLinear", weights, self.graph.floats(step), self.graph.constant(0, np.uint8))
        return self._byte_product(
            rows, v, 0, step, self._by_head(f"{name}.value_scales", self._attention_scales[name].values)
        )

    def _by_head(self, name: str, scales: FloatArray) -> ir.Value:
        """Scales of columns, (H, 1 or K)."""
        return self.graph.weight(name, scales[None, :, None])

    def _bytes(self, x: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Whole numbers in floats as bytes; unsigned ones have 0 in their middle."""
        zero = self.graph.constant(0, np.int8) if dtype == INT8 else self.graph.constant(MIDDLE, np.uint8)
        return self.graph.op("QuantizeLinear", x, self.graph.floats(1.0), zero)

    def _columns(self, x: ir.Value) -> ir.Value:
        """Whole numbers as columns of scores: without VNNI, sums of two products have 16 bits, so they lack a bit."""
        return self._bytes(
            self.graph.op("Clip", x, self.graph.floats(-COLUMN_LEVELS), self.graph.floats(COLUMN_LEVELS)), INT8
        )

    def _byte_product(self, rows: ir.Value, columns: ir.Value, zero: int, step: float, scales: ir.Value) -> ir.Value:
        """Rows with a zero point and a step times columns with scales, by head, in floats."""
        inputs = rows, columns, self.graph.floats(step), scales, self.graph.constant(zero, np.uint8)
        return self.graph.op("MatMulIntegerToFloat", *inputs, domain=CONTRIB)


def _type(name: str) -> ir.DataType:
    """The type of a cache: rows of products are unsigned, columns are signed."""
    return UINT8 if "keys" in name and "memory" not in name else INT8
