"""Position encodings in graphs, with the values of `heed.transformer.positions`."""

import math

import numpy as np
import onnx_ir as ir
import torch

from heed.export.onnx.builder import GraphBuilder
from heed.models.arrays import FloatArray, IntArray
from heed.models.spec.positions import Learned, PositionSpec, RelativeBuckets, Rotary, Sinusoidal
from heed.transformer.positions import buckets, rotation

FLOAT = ir.DataType.FLOAT


def added(
    graph: GraphBuilder, spec: PositionSpec, positions: ir.Value, table: FloatArray | None, name: str, d_model: int
) -> ir.Value | None:
    """The encodings added to embeddings at positions, (…, T): (…, T, D); None: nothing is added.

    Args:
        graph: The graph to extend.
        spec: The position encoding.
        positions: Positions from 0.
        table: The vectors, if learned.
        name: Name of the table.
        d_model: Width (D).
    """
    if isinstance(spec, Sinusoidal):
        return _sinusoids(graph, spec, positions, d_model)
    if isinstance(spec, Learned):
        assert table is not None, "learned positions have a table"
        return graph.wide(graph.op("Gather", graph.weight(name, table), _shifted(graph, positions, spec.offset)))
    return None


def _shifted(graph: GraphBuilder, positions: ir.Value, offset: int) -> ir.Value:
    return graph.op("Add", positions, graph.constant(offset, np.int64)) if offset else positions


def _sinusoids(graph: GraphBuilder, spec: Sinusoidal, positions: ir.Value, d_model: int) -> ir.Value:
    """Sinusoids, computed in the graph, because there is no longest text."""
    half, positions = d_model // 2, _shifted(graph, positions, spec.offset)
    steps = half if spec.spacing == "paper" else max(half - 1, 1)
    rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10000.0) / steps))
    columns = graph.op("Unsqueeze", graph.op("Cast", positions, to=FLOAT), graph.integers(-1))
    angles = graph.op("Mul", columns, graph.floats(rates))  # (…, T, D/2)
    encoded = graph.op("Concat", graph.op("Sin", angles), graph.op("Cos", angles), axis=-1)
    if spec.layout == "halves":
        return encoded
    pairs = graph.weight(f"sinusoids.pairs.{d_model}", np.arange(d_model).reshape(2, half).T.ravel())
    return graph.op("Gather", encoded, pairs, axis=-1)


def rotations(spec: Rotary, d_head: int) -> tuple[FloatArray, FloatArray]:
    """Cosines and sines of the rotation at each position, (positions, pairs)."""
    turn = rotation(torch.arange(spec.n_positions), d_head, spec)
    return turn.cos.numpy(), turn.sin.numpy()


def distance_buckets(spec: RelativeBuckets, *, causal: bool) -> IntArray:
    """The bucket of each distance from -max_distance (0 if `causal`) to max_distance."""
    behind = torch.arange(0 if causal else -spec.max_distance, spec.max_distance + 1)
    found: IntArray = buckets(-behind, spec, two_sided=not causal).numpy()
    return found
