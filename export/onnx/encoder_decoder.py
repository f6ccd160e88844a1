"""The Transformer as ONNX graphs, in the order and with the names of `heed.transformer`.

The encoder's graph computes what `Transformer.start` does, the decoder's what `Transformer.decode` does:

    encoder: src, src_mask (N, S), rows (N), past_memory_keys.L, past_memory_values.L (B, H, M, K) for each layer L
          -> memory_keys.L, memory_values.L: the same with these sources in their rows
    decoder: tgt, slots (B, T), positions (T or 1), mask (B, T, C), src_mask (B, M), top (1),
             memory_keys.L, memory_values.L (B, H, M, K), past_keys.L, past_values.L (B, H, C, K)
          -> top_log_probs, top_ids (B, T, top), log_probs (B, T, V),
             keys.L, values.L: the same with those of tgt in their slots

T is a target's length where it is given whole, and the width of the beam where it is searched for. ScatterND writes in
place when an output is bound to its input's memory, so from step to step no key or value is copied. With a shortlist
there are two graphs more, one that finds the vocabulary of a batch, and a decoder that predicts over it alone:

    shortlist: src, src_mask (B, S)
          -> shortlist_ids (V'), shortlist_mask (B, 1, V'), shortlist_columns, shortlist_scales
"""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from heed.export.onnx.block import BOOL, FLOAT, INT64, StackWriter, State
from heed.export.onnx.builder import GraphBuilder
from heed.export.onnx.weights import Weights
from heed.models.spec.config import ModelConfig
from heed.transformer.data.shortlist import Shortlist


class NetworkWriter(StackWriter):
    """Writes one of the graphs.

    Args:
        name: Of the graph.
        config: The network's sizes.
        state: Its weights, by PyTorch's names.
        weights: Where they are stored.
        precision: Of matrix products.
    """

    def __init__(self, name: str, config: ModelConfig, state: State, weights: Weights, precision: str) -> None:
        super().__init__(GraphBuilder(name, weights, precision), state, n_heads=config.n_heads, d_head=config.d_head)
        self.config = config

    def encoder(self) -> GraphBuilder:
        """The graph of the encoder and the decoder's projections of its output."""
        graph, config = self._graph, self.config
        src = graph.input("src", INT64, ["N", "S"])
        mask = graph.narrow(self._additive(graph.input("src_mask", BOOL, ["N", "S"]), 1, 2))  # (N, 1, 1, S)
        rows = graph.input("rows", INT64, ["N"])
        positions = graph.range(src, 1)
        x = self._embed("src_embedding", src, positions)
        for number in range(config.n_layers):
            x = self._encoder_layer(f"encoder.layers.{number}", x, mask, src)
        memory = self._final_norm("encoder", x)
        places = self._places(rows, graph.op("Expand", positions, graph.op("Shape", src)))
        for number in range(config.n_layers):
            for part in ("key", "value"):
                projected = self._heads(memory, f"decoder.layers.{number}.cross_attention.{part}", src)
                self._write(f"memory_{part}s.{number}", projected, places, "M")
        return graph

    def decoder(self, *, shortlist: bool = False) -> GraphBuilder:
        """The graph of a step, or of a whole target; over the whole vocabulary, or over a batch's shortlist."""
        graph, config = self._graph, self.config
        tgt = graph.input("tgt", INT64, ["B", "T"])
        positions = graph.input("positions", INT64, ["T or 1"])
        slots = graph.input("slots", INT64, ["B", "T"])
        mask = graph.narrow(self._additive(graph.input("mask", BOOL, ["B", "T", "C"]), 1))  # (B, 1, T, C)
        src_mask = graph.narrow(self._additive(graph.input("src_mask", BOOL, ["B", "M"]), 1, 2))  # (B, 1, 1, M)
        top = graph.input("top", INT64, [1])
        places = self._places(graph.range(tgt, 0), slots)
        x = self._embed("tgt_embedding", tgt, positions)
        for number in range(config.n_layers):
            x = self._decoder_layer(number, x, (mask, src_mask), tgt, places)
        x = self._final_norm("decoder", x)
        shape = graph.op("Concat", graph.op("Shape", tgt), graph.integers(-1), axis=0)  # (R, V) becomes (B, T, V)
        if shortlist:
            logits, ids = self._shortlist_logits(x, shape)
        else:
            columns = graph.columns(self._projection, self._state[self._projection])
            logits = graph.op("Reshape", graph.product(x, columns), shape)
            ids = None
        log_probs = graph.op("LogSoftmax", logits, axis=-1)
        top = graph.op("Min", top, graph.op("Shape", log_probs, start=2))
        top_log_probs, top_ids = graph.top(log_probs, top)
        if ids is not None:
            top_ids = graph.op("Gather", ids, top_ids)
        graph.output("top_log_probs", top_log_probs, FLOAT, ["B", "T", "top"])
        graph.output("top_ids", top_ids, INT64, ["B", "T", "top"])
        graph.output("log_probs", log_probs, FLOAT, ["B", "T", "V'" if shortlist else config.tgt_vocab_size])
        return graph

    def shortlist(self, shortlist: Shortlist) -> GraphBuilder:
        """The graph of the vocabulary that a batch is decoded over: the shortlists of its sentences, together."""
        graph, config = self._graph, self.config
        src, src_mask = graph.input("src", INT64, ["B", "S"]), graph.input("src_mask", BOOL, ["B", "S"])
        common = np.zeros(config.tgt_vocab_size, dtype=np.int32)
        common[shortlist.always] = 1
        always = graph.weight("shortlist.always", common)
        small = np.uint16 if config.tgt_vocab_size <= 2**16 else np.int32
        likely = graph.op("Gather", graph.weight("shortlist.likely", shortlist.likely.astype(small)), src)  # (B, S, L)
        likely = graph.op("Cast", likely, to=ir.DataType.INT32)
        # Padding asks for nothing, that is for a token which is there anyway.
        nothing = graph.constant(int(shortlist.always[0]), np.int32)
        likely = graph.op("Where", graph.op("Unsqueeze", src_mask, graph.integers(2)), likely, nothing)
        own = graph.op("Reshape", likely, graph.integers(0, -1))  # what each sentence asks for, (B, S · L)

        asked = graph.op("Reshape", own, graph.integers(-1))
        ones = graph.op("Expand", graph.constant(1, np.int32), graph.op("Shape", asked))
        wanted = graph.op("ScatterElements", always, asked, ones, axis=0)  # (V,), 1 where any sentence asks for it
        ids = graph.op("Reshape", graph.op("NonZero", wanted), graph.integers(-1))  # (V',)
        place = graph.op("Sub", graph.op("CumSum", wanted, graph.constant(0, np.int64)), graph.constant(1, np.int32))

        of_all = self._additive(graph.op("Cast", graph.op("Gather", always, ids), to=BOOL), 0)  # (1, V')
        shape = graph.op("Concat", graph.op("Shape", src, end=1), graph.op("Shape", ids), axis=0)
        zeros = graph.op("Expand", graph.floats(0.0), graph.op("Shape", own))
        mask = graph.op(
            "ScatterElements", graph.op("Expand", of_all, shape), graph.op("Gather", place, own), zeros, axis=1
        )
        columns = graph.some_columns(ids, self._projection, self._state[self._projection])
        graph.output("shortlist_ids", ids, INT64, ["V'"])
        graph.output("shortlist_mask", graph.op("Unsqueeze", mask, graph.integers(1)), FLOAT, ["B", 1, "V'"])
        graph.output_columns("shortlist", columns, "V'", config.d_model)
        return graph

    def _shortlist_logits(self, x: ir.Value, shape: ir.Value) -> tuple[ir.Value, ir.Value]:
        """x times the columns of a batch's shortlist, -inf where a sentence does not have one; and the token ids."""
        graph = self._graph
        ids = graph.input("shortlist_ids", INT64, ["V'"])
        mask = graph.input("shortlist_mask", FLOAT, ["B", 1, "V'"])
        columns = graph.input_columns("shortlist", "V'", self.config.d_model)
        return graph.op("Add", graph.op("Reshape", graph.product(x, columns), shape), mask), ids

    @property
    def _projection(self) -> str:
        return "src_embedding.weight" if self.config.tied_embeddings else "projection.weight"

    def _encoder_layer(self, name: str, x: ir.Value, mask: ir.Value, ids: ir.Value) -> ir.Value:
        def attend(x: ir.Value) -> ir.Value:
            q, k, v = (self._heads(x, f"{name}.self_attention.{part}", ids) for part in ("query", "key", "value"))
            return self._attention(f"{name}.self_attention", q, k, v, mask)

        x = self._residual(f"{name}.self_residual", x, attend)
        return self._residual(f"{name}.feed_residual", x, lambda x: self._feed_forward(f"{name}.feed_forward", x))

    def _decoder_layer(
        self, number: int, x: ir.Value, masks: tuple[ir.Value, ir.Value], ids: ir.Value, places: ir.Value
    ) -> ir.Value:
        name = f"decoder.layers.{number}"
        mask, src_mask = masks

        def attend_to_self(x: ir.Value) -> ir.Value:
            q, k, v = (self._heads(x, f"{name}.self_attention.{part}", ids) for part in ("query", "key", "value"))
            k, v = (self._write(f"{part}.{number}", new, places, "C") for part, new in (("keys", k), ("values", v)))
            return self._attention(f"{name}.self_attention", q, k, v, mask)

        def attend_to_memory(x: ir.Value) -> ir.Value:
            query = self._heads(x, f"{name}.cross_attention.query", ids)
            k, v = (self._cache(f"memory_{part}.{number}", "M") for part in ("keys", "values"))
            return self._attention(f"{name}.cross_attention", query, k, v, src_mask)

        x = self._residual(f"{name}.self_residual", x, attend_to_self)
        x = self._residual(f"{name}.cross_residual", x, attend_to_memory)
        return self._residual(f"{name}.feed_residual", x, lambda x: self._feed_forward(f"{name}.feed_forward", x))

    def _embed(self, name: str, ids: ir.Value, positions: ir.Value) -> ir.Value:
        """Embeddings times √d_model, plus sinusoids; (R, D) with R = B · T."""
        graph, d_model = self._graph, self.config.d_model
        name = "src_embedding" if self.config.tied_embeddings else name
        embedded = graph.lookup(ids, f"{name}.weight", self._state[f"{name}.weight"])
        scaled = graph.op("Mul", embedded, graph.floats(math.sqrt(d_model)))
        rates = np.exp(np.arange(0, d_model, 2, dtype=np.float32) * np.float32(-math.log(10000.0) / d_model))
        columns = graph.op("Unsqueeze", graph.op("Cast", positions, to=FLOAT), graph.integers(1))
        angles = graph.op("Unsqueeze", graph.op("Mul", columns, graph.floats(rates)), graph.integers(2))  # (T, D/2, 1)
        pairs = graph.op("Concat", graph.op("Sin", angles), graph.op("Cos", angles), axis=2)
        x = graph.op("Add", scaled, graph.op("Reshape", pairs, graph.integers(-1, d_model)))
        return graph.op("Reshape", x, graph.integers(-1, d_model))

    def _heads(self, x: ir.Value, name: str, ids: ir.Value) -> ir.Value:
        """x, (R, D), times a projection of an attention, head by head: (B, H, T, K).

        Queries come divided by √K already: scores are a plain product then, for which ONNX Runtime has a kernel for
        a single query that is twice as fast.
        """
        scale = self.config.d_head**-0.5 if name.endswith(".query") else 1.0
        return self._split_heads(self._graph.linear(x, name, self._state[f"{name}.weight"] * np.float32(scale)), ids)

    def _attention(self, name: str, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value) -> ir.Value:
        graph = self._graph
        flat = graph.op("Reshape", self._attend(q, k, v, mask), graph.integers(-1, self.config.d_model))
        return graph.linear(flat, f"{name}.output", self._state[f"{name}.output.weight"])

    def _feed_forward(self, name: str, x: ir.Value) -> ir.Value:
        for part in ("inner", "outer"):
            weight, bias = (self._state[f"{name}.{part}.{kind}"] for kind in ("weight", "bias"))
            x = self._graph.linear(x, f"{name}.{part}", weight, bias, rectified=part == "outer")
        return x

    def _residual(self, name: str, x: ir.Value, sublayer: Callable[[ir.Value], ir.Value]) -> ir.Value:
        graph = self._graph
        if self.config.norm == "pre":
            return graph.op("Add", x, graph.wide(sublayer(graph.narrow(self._norm(f"{name}.norm", x)))))
        return self._norm(f"{name}.norm", graph.op("Add", x, graph.wide(sublayer(graph.narrow(x)))))

    def _final_norm(self, stack: str, x: ir.Value) -> ir.Value:
        return self._graph.narrow(self._norm(f"{stack}.norm", x) if self.config.norm == "pre" else x)
