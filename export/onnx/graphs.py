"""The Transformer as ONNX graphs, in the order and with the names of `heed.transformer.model`.

Graphs of a network share their weights. Keys and values are (B, G, C, K) with G key-value heads and C slots. In a
network with an encoder and a decoder, `encoder` computes the keys and values of the memory for each decoder layer L:

    encoder: src, src_mask (N, S), rows (N), past_memory_keys.L, past_memory_values.L (B, G, M, K)
          -> memory_keys.L, memory_values.L: the same with these sources in their rows

`decoder` reads tokens with an explicit mask, so that hypotheses or samples can stand side by side:

    decoder: ids (B, T), positions (1 or B, 1 or T), or (B, T) where they are rotary, mask (B, T, C), top (1),
             places (B, G, T, 3), row, head and slot of each token's keys, or (B, 1, T, 3) if there is a recurrence;
             past_keys.L, past_values.L (B, G, C, K), or past_states.L (B, 1, C, D) of a recurrence;
             key_positions (B, C), the positions of the tokens in slots, if distances matter or there is a recurrence;
             src_mask (B, M), memory_keys.L, memory_values.L (B, G, M, K), if there is an encoder;
             predicted (N), the tokens, row by row, after which to predict, if there is no encoder
             tokens (R), rows (B, T): those that are computed, and the row of each, where products are of many rows
          -> top_log_probs, top_ids, log_probs: (B, T, top) and (B, T, V); (N, top) and (N, V); (R, top) and (R, V)
             keys.L, values.L, or states.L: the same with those of the tokens in their slots

An encoder alone has two graphs, and `predictor` reads those of the states after which something is to be predicted:

    encoder: src, src_mask (B, S) -> states (B, S, D)
    predictor: states (N, D), top (1) -> top_log_probs, top_ids (N, top), log_probs (N, V)

With a shortlist there are two more graphs, one that computes the vocabulary of a batch, and a decoder that predicts
only over it:

    shortlist: src, src_mask (B, S)
          -> shortlist_ids (U), and of those N that are not in every shortlist, which come last:
             shortlist_columns, shortlist_scales, shortlist_bias (N)
             shortlist_places, shortlist_mask (B, L): which of the N each sentence has, and which of these are real

It has a log-probability for V' tokens of a sentence: those of every shortlist, and its own L or fewer.

A decoder-only network has a faster graph for causal attention to all earlier tokens in one operator; `last` is the slot
of the last token of each row, and `total` the number of slots in use:

    stream: ids, positions (B, T), last (B), total (1), predicted (N), top (1), past_keys.L, past_values.L
          -> the same as decoder

With attention in integers, the decoder's keys are unsigned bytes and its values signed ones; those of the memory are
signed, and its keys stand in columns, (B, G, K, M).

With an integer KV cache, the stream reads a quarter of the bytes. The decoder has the same values in float32, because
many tokens at a time would convert integers to floats repeatedly. Another graph rounds what the decoder has read for
the stream:

    rounding: past_keys.L, past_values.L -> keys.L, values.L
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from heed.export.onnx.attention import AttentionWriter, can_stream
from heed.export.onnx.block import BOOL, FLOAT, INT32, INT64, LiveTokens, State
from heed.export.onnx.blockwise import BlockGraphBuilder, is_blockwise
from heed.export.onnx.builder import GraphBuilder
from heed.export.onnx.calibration.calibration import Calibration
from heed.export.onnx.integer_attention import IntegerAttentionWriter
from heed.export.onnx.recurrence import RecurrenceWriter
from heed.export.onnx.relative import RelativeWriter
from heed.export.onnx.weights import Weights
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import RelativeBuckets, RelativeSinusoids, Rotary
from heed.models.spec.stack import StackSpec
from heed.transformer.data.shortlist import Shortlist

Attend = Callable[[int, ir.Value], ir.Value]  # attention of a layer, given its number and normalized input
Chosen = Callable[[ir.Value], ir.Value]  # token ids of candidates, (R, top), given their indices


class NetworkWriter:
    """Writes the graphs of a network.

    Args:
        spec: The network's specification.
        state: Its weights, by the names of `heed.models.spec.parameters`.
        precision: Precision of matrix products: "float32", "float16", "int8" or "int4".
        weights: The weights of all graphs.
        calibration: Scales of integers; None: none is known.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        state: State,
        precision: str,
        weights: Weights,
        calibration: Calibration | None = None,
    ) -> None:
        self._weights = weights
        self._spec, self._state, self._precision = spec, state, precision
        self._calibration = calibration or Calibration()

    @property
    def _decoder(self) -> StackSpec:
        assert self._spec.decoder is not None, "an encoder alone does not decode"
        return self._spec.decoder

    def graphs(self, shortlist: Shortlist | None = None) -> list[GraphBuilder]:
        """All graphs of the network; those of a shortlist only if matrices are not blockwise."""
        if self._spec.decoder is None:
            return [self.lone_encoder(), self.predictor()]
        if self._spec.encoder is not None:
            more = []
            if shortlist and not is_blockwise(self._spec, self._precision):
                more = [self.shortlist(shortlist), self.decoder(shortlist)]
            return [self.encoder(), self.decoder(), *more]
        streams = [self.stream()] if can_stream(self._spec) else []
        return [*streams, self.decoder(), *([self.rounding()] if self._calibration.caches and streams else [])]

    def _begin(self, name: str) -> GraphBuilder:
        if is_blockwise(self._spec, self._precision):
            return BlockGraphBuilder(name, self._weights, self._precision)
        return GraphBuilder(name, self._weights, self._precision, self._calibration.inputs)

    def _stack(self, graph: GraphBuilder, name: str, live: LiveTokens | None = None) -> AttentionWriter:
        if name == "decoder" and self._calibration.attention:
            return IntegerAttentionWriter(graph, self._state, self._spec, self._calibration.attention, live)
        scales = self._calibration.caches if name == "decoder" else None
        return AttentionWriter(graph, self._state, self._spec, name, live, scales)

    def encoder(self) -> GraphBuilder:
        """The graph of the encoder, with the decoder's projections of its output."""
        graph = self._begin("encoder")
        decoder = self._stack(graph, "decoder")
        src = graph.input("src", INT64, ["N", "S"])
        src_mask = graph.input("src_mask", BOOL, ["N", "S"])
        rows = graph.input("rows", INT64, ["N"])
        memory, wide = self._encoded(graph, src, src_mask)
        places = decoder.places(rows, wide)
        for number in range(self._decoder.n_layers):
            decoder.write_memory(number, memory, src, rows, places)
        return graph

    def lone_encoder(self) -> GraphBuilder:
        """The graph of an encoder alone."""
        graph, D = self._begin("encoder"), self._spec.d_model
        src = graph.input("src", INT64, ["B", "S"])
        states, _ = self._encoded(graph, src, graph.input("src_mask", BOOL, ["B", "S"]))
        shape = graph.op("Concat", graph.op("Shape", src), graph.integers(D), axis=0)
        graph.output("states", graph.op("Reshape", graph.wide(states), shape), FLOAT, ["B", "S", D])
        return graph

    def predictor(self) -> GraphBuilder:
        """The graph of an encoder's predictions."""
        graph = self._begin("predictor")
        states = graph.input("states", FLOAT, ["N", self._spec.d_model])
        x = self._predictive(self._stack(graph, "encoder"), graph.narrow(states))
        self._output_predictions(graph, self._logits(graph, x), ["N"])
        return graph

    def _encoded(self, graph: GraphBuilder, src: ir.Value, src_mask: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The encoder's states for token ids, (B, S): (…, D); and the positions of these, (B, S)."""
        stack = self._stack(graph, "encoder")
        positions = graph.range(src, 1)
        wide = graph.op("Expand", positions, graph.op("Shape", src))  # (B, S)
        mask, place = self._encoder_mask(stack, src_mask, positions), stack.stack.positions
        relative = RelativeWriter(stack, place, src_mask, positions) if isinstance(place, RelativeSinusoids) else None
        x = stack.embed(src, graph.op("Unsqueeze", positions, graph.integers(0)))
        for number in range(stack.stack.n_layers):
            name = f"encoder.layers.{number}"

            def attend(x: ir.Value, name: str = f"{name}.self_attention") -> ir.Value:
                q, k, v = stack.self_heads(name, x, src, wide)
                if relative is None:
                    return stack.attend(name, q, k, v, mask, src)
                added = graph.op("Add", mask, relative.scores(name, q))
                return stack.attend(name, relative.content(name, q), k, v, added, src, by_head=True)

            x = stack.residual(f"{name}.self_residual", x, attend)
            x = self._fed_forward(stack, name, x)
        return stack.last(x), wide

    @staticmethod
    def _encoder_mask(stack: AttentionWriter, src_mask: ir.Value, positions: ir.Value) -> ir.Value:
        """The additive mask of the encoder, (N, 1 or H, 1 or S, S)."""
        graph = stack.graph
        rows, columns = (graph.op("Unsqueeze", positions, graph.integers(0, axis)) for axis in (2, 1))
        distances = graph.op("Sub", rows, columns)  # (1, S, S)
        near, bias = stack.near(distances), stack.bias(distances, causal=False)
        if near is None:
            mask = stack.additive(src_mask, 1, 2)
        else:  # padding attends to itself: a query without keys would give NaN
            seen = graph.op("And", graph.op("Unsqueeze", src_mask, graph.integers(1)), near)
            itself = graph.op("Equal", distances, graph.constant(0, np.int64))
            mask = stack.additive(graph.op("Or", seen, itself), 1)
        return graph.narrow(mask if bias is None else graph.op("Add", mask, bias))

    def decoder(self, shortlist: Shortlist | None = None) -> GraphBuilder:
        """The graph of tokens with an explicit mask, over the whole vocabulary or a batch's shortlist."""
        graph = self._begin("shortlist_decoder" if shortlist else "decoder")
        ids = graph.input("ids", INT64, ["B", "T"])
        stack = self._stack(graph, "decoder", self._live(graph))
        each = isinstance(self._decoder.positions, Rotary)
        positions = graph.input("positions", INT64, ["B", "T"] if each else ["1 or B", "1 or T"])
        recurs = self._decoder.recurrence is not None
        # Computing these indices here would be 15 operators in each step.
        places = graph.input("places", INT64, ["B", 1 if recurs else self._decoder.attention.n_kv_heads, "T", 3])
        mask = graph.input("mask", BOOL, ["B", "T", "C"])
        mix = RecurrenceWriter if recurs else self._self_attention
        mixing = mix(stack, ids, positions, places, mask)
        x = self._layers(stack, ids, positions, mixing)
        self._predict(stack, x, ids, shortlist)
        return graph

    def _self_attention(
        self, stack: AttentionWriter, ids: ir.Value, positions: ir.Value, places: ir.Value, mask: ir.Value
    ) -> Attend:
        """The self-attention of the decoder's layers to tokens in slots."""
        additive = self._decoder_mask(stack, mask, positions)

        def attend(number: int, x: ir.Value) -> ir.Value:
            name = f"decoder.layers.{number}.self_attention"
            q, k, v = stack.self_heads(name, x, ids, positions)
            k, v = (stack.write(f"{part}.{number}", new, places, "C") for part, new in (("keys", k), ("values", v)))
            return stack.attend(name, q, k, v, additive, ids)

        return attend

    def _live(self, graph: GraphBuilder) -> LiveTokens | None:
        """The tokens that are computed, where the hypotheses of many sources are decoded together."""
        if self._spec.encoder is None or not graph.many_rows:
            return None
        return LiveTokens(graph.input("tokens", INT64, ["R"]), graph.input("rows", INT64, ["B", "T"]))

    def _decoder_mask(self, stack: AttentionWriter, mask: ir.Value, positions: ir.Value) -> ir.Value:
        """The additive mask of the decoder, (B, 1 or H, T, C)."""
        graph, bias = stack.graph, None
        if self._decoder.attention.window is not None or isinstance(self._decoder.positions, RelativeBuckets):
            keys = graph.op("Unsqueeze", graph.input("key_positions", INT64, ["B", "C"]), graph.integers(1))
            distances = graph.op("Sub", graph.op("Unsqueeze", positions, graph.integers(2)), keys)  # (B, T, C)
            near, bias = stack.near(distances), stack.bias(distances, causal=True)
            mask = mask if near is None else graph.op("And", mask, near)
        additive = stack.additive(mask, 1)
        return graph.narrow(additive if bias is None else graph.op("Add", additive, bias))

    def stream(self) -> GraphBuilder:
        """The graph of causal attention to all earlier tokens."""
        graph = self._begin("stream")
        stack = self._stack(graph, "decoder")
        ids = graph.input("ids", INT64, ["B", "T"])
        positions = graph.input("positions", INT64, ["B", "T"])
        last, total = graph.input("last", INT32, ["B"]), graph.input("total", INT32, [1])
        x = self._layers(stack, ids, positions, lambda number, x: stack.stream(number, x, ids, last, total))
        self._predict(stack, x, ids)
        return graph

    def rounding(self) -> GraphBuilder:
        """The graph that rounds the decoder's keys and values for the stream."""
        graph = self._begin("rounding")
        stack = self._stack(graph, "decoder")
        for name in self._calibration.caches:
            rounded = stack.rounded(name, stack.cache(f"past_{name}", "C", FLOAT))
            graph.output(name, rounded, ir.DataType.INT8, stack.cache_shape("C"))
        return graph

    def _layers(self, stack: AttentionWriter, ids: ir.Value, positions: ir.Value, attend: Attend) -> ir.Value:
        """The decoder's states for token ids, (B, T): (…, D), before its last norm."""
        see_memory = self._memory(stack, ids)
        x = stack.embed(ids, positions)
        for number in range(self._decoder.n_layers):
            name = f"decoder.layers.{number}"
            x = stack.residual(f"{name}.self_residual", x, functools.partial(attend, number))
            if see_memory:
                x = stack.residual(f"{name}.cross_residual", x, functools.partial(see_memory, number))
            x = self._fed_forward(stack, name, x)
        return x

    @staticmethod
    def _fed_forward(stack: AttentionWriter, name: str, x: ir.Value) -> ir.Value:
        return stack.residual(f"{name}.feed_residual", x, lambda x: stack.feed_forward(f"{name}.feed_forward", x))

    def _memory(self, stack: AttentionWriter, ids: ir.Value) -> Attend | None:
        """The cross-attention of layers; None: there is no encoder."""
        if self._spec.encoder is None:
            return None
        graph = stack.graph
        mask = graph.narrow(stack.additive(graph.input("src_mask", BOOL, ["B", "M"]), 1, 2))  # (B, 1, 1, M)

        def attend(number: int, x: ir.Value) -> ir.Value:
            name = f"decoder.layers.{number}.cross_attention"
            query = stack.heads(name, "query", x, ids)
            k, v = (stack.cache(f"memory_{part}.{number}", "M") for part in ("keys", "values"))
            return stack.attend(name, query, k, v, mask, ids, by_head=False)

        return attend

    def _predict(self, stack: AttentionWriter, x: ir.Value, ids: ir.Value, shortlist: Shortlist | None = None) -> None:
        """The prediction outputs, from the states of the layers."""
        graph, shape = stack.graph, ["B", "T"] if stack.live is None else ["R"]
        if self._spec.encoder is None:
            predicted, shape = graph.input("predicted", INT64, ["N"]), ["N"]
            x = graph.op("Gather", graph.op("Reshape", x, graph.integers(-1, self._spec.d_model)), predicted)
        x, chosen = self._predictive(stack, stack.last(x)), None
        if shortlist:
            logits, chosen = self._shortlist_logits(stack, x, ids, shortlist)
        else:
            logits = self._logits(graph, x)
            if len(shape) > 1:  # (R, V) becomes (B, T, V)
                logits = graph.op(
                    "Reshape", logits, graph.op("Concat", graph.op("Shape", ids), graph.integers(-1), axis=0)
                )
        self._output_predictions(graph, logits, shape, chosen)

    def _predictive(self, stack: AttentionWriter, x: ir.Value) -> ir.Value:
        """Final states, (…, D), as the output matrix reads them."""
        graph, scale, x = stack.graph, self._spec.output_scale, stack.output_transform(x)
        return x if scale is None else graph.op("Mul", x, graph.constant(scale, graph.dtype.numpy()))

    def _output_predictions(
        self, graph: GraphBuilder, logits: ir.Value, shape: list[str], chosen: Chosen | None = None
    ) -> None:
        """The prediction outputs, from logits, (*shape, V), or (*shape, V') of shortlists with their token ids."""
        stack = self._stack(graph, next(iter(self._spec.stacks)))
        log_probs = graph.op("LogSoftmax", stack.soft_cap(logits, self._spec.output_soft_cap, wide=True), axis=-1)
        top_log_probs, top_ids = graph.top(log_probs, graph.input("top", INT64, [1]))
        graph.output("top_log_probs", top_log_probs, FLOAT, [*shape, "top"])
        graph.output("top_ids", chosen(top_ids) if chosen else top_ids, INT64, [*shape, "top"])
        graph.output("log_probs", log_probs, FLOAT, [*shape, "V'" if chosen else self._spec.last.vocab_size])

    def _logits(self, graph: GraphBuilder, x: ir.Value) -> ir.Value:
        """The logits of x, (…, D), in float32."""
        name = self._spec.output
        logits = graph.project(x, name, self._state[f"{name}.weight"])
        bias = self._state.get("projection.bias")
        return logits if bias is None else graph.op("Add", logits, graph.weight("projection.bias", bias))

    def _shortlist_logits(
        self, stack: AttentionWriter, x: ir.Value, ids: ir.Value, shortlist: Shortlist
    ) -> tuple[ir.Value, Chosen]:
        """The logits over the shortlists of a batch's sentences, (R, V'), and what finds token ids.

        The columns of tokens that are in every shortlist are constant, so ONNX Runtime arranges them once, not in each
        step; of the others, N in the whole batch, each row takes its sentence's own, L or fewer.
        """
        graph, name, D, F = stack.graph, self._spec.output, self._spec.d_model, len(shortlist.always)
        assert stack.live is not None, "a shortlist is for many rows"
        every = graph.input("shortlist_ids", INT64, ["U"])
        places = graph.input("shortlist_places", INT64, ["B", "L"])
        mask = graph.input("shortlist_mask", FLOAT, ["B", "L"])
        always = graph.weight("shortlist.frequent", np.sort(shortlist.always))
        columns = graph.some_columns(always, name, self._state[f"{name}.weight"])  # folded when the graph is loaded
        frequent = graph.product(x, name, columns)
        others = graph.product(x, name, graph.input_columns("shortlist", "N", D))
        if self._spec.output_bias:
            bias = graph.weight("projection.bias", self._state["projection.bias"])
            frequent = graph.op("Add", frequent, graph.op("Gather", bias, always))
            others = graph.op("Add", others, graph.input("shortlist_bias", FLOAT, ["N"]))
        sentences = graph.op("Div", stack.live.tokens, graph.op("Shape", ids, start=1))  # of each row, (R,)
        places = graph.op("Gather", places, sentences)  # (R, L)
        own = graph.op("GatherElements", others, places, axis=1)
        own = graph.op("Add", own, graph.op("Gather", mask, sentences))

        def chosen(indices: ir.Value) -> ir.Value:
            first = graph.constant(F, np.int64)
            behind = graph.op("Max", graph.op("Sub", indices, first), graph.constant(0, np.int64))
            at = graph.op("Add", graph.op("GatherElements", places, behind, axis=1), first)
            return graph.op("Gather", every, graph.op("Where", graph.op("Less", indices, first), indices, at))

        return graph.op("Concat", frequent, own, axis=-1), chosen

    def shortlist(self, shortlist: Shortlist) -> GraphBuilder:
        """The graph of a batch's vocabulary: the tokens of every shortlist, then the other ones of its sentences."""
        graph, V, name = self._begin("shortlist"), self._decoder.vocab_size, self._spec.output
        src, src_mask = graph.input("src", INT64, ["B", "S"]), graph.input("src_mask", BOOL, ["B", "S"])
        is_other = np.ones(V, dtype=np.int32)
        is_other[shortlist.always] = 0
        small = np.uint16 if V <= 2**16 else np.int32
        likely = graph.op("Gather", graph.weight("shortlist.likely", shortlist.likely.astype(small)), src)  # (B, S, K)
        likely = graph.op("Cast", likely, to=INT32)
        # Padding requests a token that is always included.
        nothing = graph.constant(int(shortlist.always[0]), np.int32)
        likely = graph.op("Where", graph.op("Unsqueeze", src_mask, graph.integers(2)), likely, nothing)
        requested = graph.op("Reshape", likely, graph.integers(0, -1))  # tokens requested by each sentence, (B, S · K)

        # 1 for other tokens that any sentence requests, (V,), and for one token in any case: no product is empty.
        first = np.zeros(V, dtype=np.int32)
        first[int(is_other.argmax())] = 1
        every = graph.op("Reshape", requested, graph.integers(-1))
        zeros = graph.op("Expand", graph.constant(0, np.int32), graph.integers(V))
        ones = graph.op("Expand", graph.constant(1, np.int32), graph.op("Shape", every))
        asked = graph.op("ScatterElements", zeros, every, ones, axis=0)
        asked = graph.op("Mul", asked, graph.weight("shortlist.others", is_other))
        listed = graph.op("Max", asked, graph.weight("shortlist.first", first))
        others = graph.op("Reshape", graph.op("NonZero", listed), graph.integers(-1))  # (N,)
        place = graph.op("Sub", graph.op("CumSum", listed, graph.constant(0, np.int64)), graph.constant(1, np.int32))
        # What no sentence requests has a place behind the others, and so have tokens of every shortlist.
        N = graph.op("Shape", others)
        place = graph.op("Where", graph.op("Cast", asked, to=BOOL), place, graph.op("Cast", N, to=INT32))

        always = graph.weight("shortlist.frequent", np.sort(shortlist.always))
        ids = graph.op("Concat", graph.op("Cast", always, to=INT64), others, axis=0)
        places, mask = self._own_places(graph, graph.op("Gather", place, requested), N)
        columns = graph.some_columns(others, name, self._state[f"{name}.weight"])
        graph.output("shortlist_ids", ids, INT64, ["U"])
        graph.output("shortlist_places", places, INT64, ["B", "L"])
        graph.output("shortlist_mask", mask, FLOAT, ["B", "L"])
        graph.output_columns("shortlist", columns, "N", self._spec.d_model)
        if self._spec.output_bias:
            bias = graph.weight("projection.bias", self._state["projection.bias"])
            graph.output("shortlist_bias", graph.op("Gather", bias, others), FLOAT, ["N"])
        return graph

    @staticmethod
    def _own_places(graph: GraphBuilder, requested: ir.Value, n_others: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The places that each sentence requests, once each, and the mask of their padding, (B, L).

        Args:
            graph: The graph to extend.
            requested: Places among the batch's other tokens, or behind them: (B, S · K).
            n_others: The number of other tokens, (1,).
        """
        zero, rows = graph.constant(0, np.int64), graph.op("Shape", requested, end=1)
        wide = graph.op("Concat", rows, graph.op("Add", n_others, graph.integers(1)), axis=0)
        nothing = graph.op("Expand", graph.constant(0, np.int32), wide)
        ones = graph.op("Expand", graph.constant(1, np.int32), graph.op("Shape", requested))
        is_own = graph.op("ScatterElements", nothing, requested, ones, axis=1)
        is_own = graph.op("Slice", is_own, graph.integers(0), n_others, graph.integers(1))  # (B, N)

        counts = graph.op("ReduceSum", is_own, graph.integers(1), keepdims=0)  # (B,)
        counts = graph.op("Cast", counts, to=INT64)
        longest = graph.op("Max", graph.op("ReduceMax", counts, keepdims=1), graph.integers(1))  # L, (1,)
        found = graph.op("NonZero", is_own)  # rows and places, (2, T), row by row
        parts = graph.several("Split", found, n=2, axis=0, num_outputs=2)
        row, at = (graph.op("Reshape", part, graph.integers(-1)) for part in parts)
        starts = graph.op("CumSum", counts, zero, exclusive=1)
        column = graph.op("Sub", graph.range(at, 0), graph.op("Gather", starts, row))
        padded = graph.op("Expand", zero, graph.op("Mul", rows, longest))
        index = graph.op("Add", graph.op("Mul", row, longest), column)
        places = graph.op("ScatterElements", padded, index, at, axis=0)
        places = graph.op("Reshape", places, graph.op("Concat", rows, longest, axis=0))
        columns = graph.op("Unsqueeze", graph.range(places, 1), graph.integers(0))
        is_real = graph.op("Less", columns, graph.op("Unsqueeze", counts, graph.integers(1)))
        return places, graph.op("Where", is_real, graph.floats(0.0), graph.floats(-math.inf))
