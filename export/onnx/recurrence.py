"""The recurrence of a decoder in graphs: the state after a token is kept in the token's slot.

A step reads the state of the token before, which is the last one that the mask shows, and writes its own. So hypotheses
share states as they share keys and values, and no state moves between steps. The tokens of a call are independent: each
is the next one of another hypothesis.
"""

import onnx_ir as ir

from heed.export.onnx.attention import AttentionWriter
from heed.export.onnx.block import FLOAT, INT64


class RecurrenceWriter:
    """Writes SSRUs; see `heed.transformer.recurrence`.

    Args:
        stack: Writes the rest of the decoder.
        ids: Token ids, (B, T).
        positions: Their positions, (1 or B, 1 or T).
        places: Where their states are written, row, 0 and slot: (B, 1, T, 3).
        mask: True at slots that each sees, (B, T, C).
    """

    def __init__(
        self, stack: AttentionWriter, ids: ir.Value, positions: ir.Value, places: ir.Value, mask: ir.Value
    ) -> None:
        self._stack, self._ids, self._places = stack, ids, places
        self._previous, self._begins = self._before(positions, mask)

    def _before(self, positions: ir.Value, mask: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Where the state before each token is, (B, 1, T, 3), and whether there is none, (B, 1, T, 1)."""
        graph = self._stack.graph
        keys = graph.op("Unsqueeze", graph.input("key_positions", INT64, ["B", "C"]), graph.integers(1))
        earlier = graph.op("Less", keys, graph.op("Unsqueeze", positions, graph.integers(2)))  # (B, T, C)
        numbers = graph.op("Cast", keys, to=FLOAT)  # of which a GPU finds the largest, too
        seen = graph.op("Where", graph.op("And", mask, earlier), numbers, graph.floats(-1.0))
        slots = graph.op("ArgMax", seen, axis=2, keepdims=0)  # (B, T)
        last = graph.op("ReduceMax", seen, graph.integers(2), keepdims=1)
        begins = graph.op("Unsqueeze", graph.op("Less", last, graph.floats(0.0)), graph.integers(1))
        return self._stack.places(graph.range(self._ids, 0), slots, 1), begins

    def __call__(self, number: int, x: ir.Value) -> ir.Value:
        """The output of a layer's recurrence for x, (…, D); its states are an input and an output of the graph."""
        stack, graph = self._stack, self._stack.graph
        name, D = f"decoder.layers.{number}.recurrence", stack.spec.d_model
        shape: list[int | str] = ["B", 1, "C", D]
        past = graph.input(f"past_states.{number}", graph.dtype, shape)
        before = graph.op(
            "Where", self._begins, graph.constant(0, graph.dtype.numpy()), graph.op("GatherND", past, self._previous)
        )
        before = stack.by_row(before) if graph.many_rows else graph.op("Squeeze", before, graph.integers(1))
        forget, candidate = graph.op("Sigmoid", stack.linear(f"{name}.forget", x)), stack.linear(f"{name}.candidate", x)
        state = graph.op("Add", candidate, graph.op("Mul", forget, graph.op("Sub", before, candidate)))
        new = graph.op("Unsqueeze", stack.by_token(state, self._ids), graph.integers(1))  # (B, 1, T, D)
        graph.output(f"states.{number}", graph.op("ScatterND", past, self._places, new), graph.dtype, shape)
        return graph.op("Relu", state)
