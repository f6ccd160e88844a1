"""Attention to distances in graphs, with the names of `heed.transformer.relative`."""

import numpy as np
import onnx_ir as ir

from heed.export.onnx import positions as position_writer
from heed.export.onnx.attention import AttentionWriter
from heed.export.onnx.block import FLOAT, INT64
from heed.export.onnx.builder import CONTRIB
from heed.models.spec.positions import RelativeSinusoids
from heed.transformer.relative import HALVES

END = np.iinfo(np.int64).max  # of a slice up to the end


class RelativeWriter:
    """Writes the scores of distances and segments of an encoder.

    Args:
        stack: Writes the rest of its attention; queries include the scale of scores.
        spec: Its positions.
        src_mask: True at real tokens, (B, S).
        positions: From 0, (S,).
    """

    def __init__(
        self, stack: AttentionWriter, spec: RelativeSinusoids, src_mask: ir.Value, positions: ir.Value
    ) -> None:
        self._stack, self._graph = stack, stack.graph
        self._size = stack.graph.op("Shape", positions)  # (1,), S
        self._sinusoids = self._distances()
        self._apart = self._segments(src_mask, positions) if spec.last_apart else None

    def _distances(self) -> ir.Value:
        """Sinusoids of S, S - 1, …, 1 - S, (2S, D)."""
        graph, S = self._graph, self._graph.op("Squeeze", self._size)
        descending = graph.op("Range", S, graph.op("Neg", S), graph.constant(-1, np.int64))
        found = position_writer.added(graph, HALVES, descending, None, "", self._stack.spec.d_model)
        assert found is not None
        return graph.own_rows(graph.narrow(found))

    def _segments(self, src_mask: ir.Value, positions: ir.Value) -> ir.Value:
        """1 where one of query and key is the last token of its text, else 0: (B, 1, S, S)."""
        graph = self._graph
        length = graph.op("ReduceSum", graph.op("Cast", src_mask, to=INT64), graph.integers(1), keepdims=1)
        last = graph.op("Equal", positions, graph.op("Sub", length, graph.constant(1, np.int64)))  # (B, S)
        numbers = graph.narrow(graph.op("Cast", last, to=FLOAT))
        rows, columns = (graph.op("Unsqueeze", numbers, graph.integers(1, axis)) for axis in (3, 2))
        return graph.op("Abs", graph.op("Sub", rows, columns))

    def content(self, name: str, q: ir.Value) -> ir.Value:
        """Queries of a layer, (B, H, S, K), as they meet keys of tokens."""
        return self._biased(f"{name}.relative.content_bias", q)

    def scores(self, name: str, q: ir.Value) -> ir.Value:
        """The scores of queries, (B, H, S, K): (B, H, S, S)."""
        graph, attention, name = self._graph, self._stack.attention, f"{name}.relative"
        whole = self._stack.linear(f"{name}.distance", self._sinusoids)
        heads = graph.op("Reshape", whole, graph.integers(1, -1, attention.n_heads, attention.d_head))
        keys = graph.op("Transpose", heads, perm=[0, 2, 1, 3])  # (1, H, 2S, K)
        scores = self._shifted(self._product(self._biased(f"{name}.distance_bias", q), keys))
        if self._apart is None:
            return scores
        of_segment = self._product(self._biased(f"{name}.segment_bias", q), self._by_head(f"{name}.segment"))
        return graph.op("Add", scores, graph.op("Mul", of_segment, self._apart))

    def _product(self, q: ir.Value, keys: ir.Value) -> ir.Value:
        """Products of queries, (B, H, S, K), and keys, (1, H, N, K) or (H, N, K): (B, H, S, N)."""
        return self._graph.op("FusedMatMul", q, keys, domain=CONTRIB, transB=1)

    def _shifted(self, scores: ir.Value) -> ir.Value:
        """Scores by key instead of distance; see `heed.transformer.relative.shifted`."""
        graph = self._graph
        flat = graph.op("Reshape", scores, graph.integers(0, 0, -1))
        rest = graph.op("Slice", flat, self._size, graph.integers(END), graph.integers(2))
        shape = graph.op("Concat", graph.integers(0, 0), self._size, graph.integers(-1), axis=0)
        rows = graph.op("Reshape", rest, shape)  # (B, H, S, 2S - 1)
        return graph.op("Slice", rows, graph.integers(0), self._size, graph.integers(3))

    def _biased(self, name: str, q: ir.Value) -> ir.Value:
        """Queries with a bias, which is scaled as they are."""
        return self._graph.op("Add", q, self._by_head(name, self._stack.attention.score_scale))

    def _by_head(self, name: str, factor: float = 1.0) -> ir.Value:
        """A vector of the network, (H, 1, K), times a factor."""
        array = (self._stack.state[name] * np.float32(factor)).astype(self._graph.dtype.numpy())
        shape = self._graph.integers(-1, 1, self._stack.attention.d_head)
        return self._graph.op("Reshape", self._graph.weight(name, array), shape)
