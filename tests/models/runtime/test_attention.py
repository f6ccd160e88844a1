"""Attention weights from a bundle's graphs are those of PyTorch and of transformers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from heed.export.exporter import write_graphs
from heed.models.arrays import FloatArray
from heed.models.decoding.batching import padded
from heed.models.errors import ModelError
from heed.models.runtime.attention import AttentionGraphs, Weights
from heed.models.runtime.subgraph import subgraph
from heed.models.spec.network import NetworkSpec
from heed.transformer import attention as torch_attention
from heed.transformer.masks import Causal
from heed.transformer.model import Transformer
from tests.export.importers import tiny
from tests.export.importers.test_families import network as imported

SOURCES = [[4, 5, 6, 7, 3], [9, 3], [4, 4, 10, 8, 7, 6, 5, 9, 3]]
TGT = np.random.default_rng(1).integers(2, 11, (3, 12))
CLOSE = 1e-5


def shown(network: Transformer, directory: Path, precision: str = "float32", **layers: Any) -> AttentionGraphs:
    files = write_graphs(network, precision, directory)
    return AttentionGraphs(directory, network.spec, files, device="cpu", threads=1, **layers)


def read(graphs: AttentionGraphs) -> Weights:
    src, src_mask = padded(SOURCES) if graphs.spec.encoder else (None, None)
    return graphs.read(src, src_mask, TGT)


@torch.inference_mode()
def computed(network: Transformer) -> Weights:
    """The weights that softmax makes of the queries and keys in PyTorch, with the masks that attention is given."""
    calls, attention = list[FloatArray](), torch_attention.attention

    def spy(q: Any, k: Any, v: Any, mask: Any, *, scale: float, soft_cap: float | None) -> Any:
        scores = q @ k.transpose(-2, -1) * scale
        if soft_cap is not None:
            scores = soft_cap * torch.tanh(scores / soft_cap)
        if isinstance(mask, Causal):
            assert mask.bounds is None
            behind = torch.arange(q.shape[2])[:, None] - torch.arange(k.shape[2])
            mask = (behind >= 0) & (behind < (mask.window or q.shape[2]))
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        calls.append((scores + mask).softmax(-1).numpy())
        return attention(q, k, v, mask, scale=scale, soft_cap=soft_cap)

    spec, tgt = network.spec, torch.from_numpy(TGT)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch_attention, "attention", spy)
        if spec.encoder is None:
            network(tgt=tgt)
            return {"decoder": calls}
        src, src_mask = padded(SOURCES)
        network(torch.from_numpy(src), torch.from_numpy(src_mask)[:, None, None], tgt)
    n = spec.encoder.n_layers
    if spec.decoder is None or spec.decoder.recurrence is not None:
        return {"encoder": calls[:n], "cross": calls[n:]}
    return {"encoder": calls[:n], "decoder": calls[n::2], "cross": calls[n + 1 :: 2]}


def same(found: Weights, expected: Weights) -> None:
    """Weights are equal for real tokens; what padding attends to is of no account."""
    assert found.keys() == expected.keys()
    real = padded(SOURCES)[1]
    for kind, layers in expected.items():
        assert len(found[kind]) == len(layers)
        for ours, theirs in zip(found[kind], layers, strict=True):
            assert ours.shape == theirs.shape
            rows = real if kind == "encoder" else np.ones(ours.shape[::2][:2], dtype=bool)
            assert_allclose(ours.transpose(0, 2, 1, 3)[rows], theirs.transpose(0, 2, 1, 3)[rows], rtol=0, atol=CLOSE)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_weights_are_those_of_pytorch(
    specs: st.SearchStrategy[NetworkSpec], draw: Callable[[NetworkSpec], Transformer], data: st.DataObject
) -> None:
    """And they sum to 1, causal masks hold, and padding gets nothing."""
    network = draw(data.draw(specs.filter(lambda spec: spec.decoder is not None)))
    with tempfile.TemporaryDirectory() as directory:
        found = read(shown(network, Path(directory)))
    same(found, computed(network))
    padding = ~padded(SOURCES)[1]
    for kind, layers in found.items():
        for weights in layers:
            assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-5)
            if kind == "decoder":
                assert (np.triu(weights, 1) == 0).all()
            if kind == "cross":
                assert (weights.transpose(0, 3, 1, 2)[padding] == 0).all()
            if kind == "encoder":
                real_rows = weights.transpose(0, 2, 1, 3)
                for row, hidden in zip(real_rows, padding, strict=True):
                    assert (row[~hidden][:, :, hidden] == 0).all()


@pytest.mark.parametrize("form", ["marian", "mbart", "t5", "gpt2", "llama", "mistral", "qwen3"])
def test_weights_of_imported_networks_are_those_of_transformers(form: str, tmp_path: Path) -> None:
    model = tiny.save(form, tmp_path)
    model.set_attn_implementation("eager")
    (tmp_path / "graphs").mkdir()
    graphs, tgt = shown(imported(tmp_path), tmp_path / "graphs"), torch.from_numpy(TGT)
    with torch.inference_mode():
        if graphs.spec.encoder is None:
            theirs = {"decoder": model(tgt, output_attentions=True).attentions}
        else:
            src, src_mask = (torch.from_numpy(each) for each in padded(SOURCES))
            made = model(input_ids=src, attention_mask=src_mask.long(), decoder_input_ids=tgt, output_attentions=True)
            theirs = {
                "encoder": made.encoder_attentions,
                "decoder": made.decoder_attentions,
                "cross": made.cross_attentions,
            }
    same(read(graphs), {kind: [each.numpy() for each in layers] for kind, layers in theirs.items()})


@pytest.mark.parametrize("precision", ["float16", "int8", "int4"])
def test_every_precision_shows_its_own_weights(
    draw_network: Callable[..., Transformer], precision: str, tmp_path: Path
) -> None:
    network = draw_network()
    found, expected = read(shown(network, tmp_path, precision)), computed(network)
    for kind, layers in found.items():
        for ours, theirs in zip(layers, expected[kind], strict=True):
            assert_allclose(ours.sum(-1), 1, rtol=0, atol=2e-3)
            assert np.abs(ours - theirs).mean() < 0.1


def test_the_wanted_layers_are_all_that_is_computed(draw_network: Callable[..., Transformer], tmp_path: Path) -> None:
    network = draw_network(n_layers=3)
    every = read(shown(network, tmp_path))
    some = read(AttentionGraphs(
        tmp_path, network.spec, ["encoder.onnx", "decoder.onnx"], device="cpu", threads=1, layers={"cross": [1]}
    ))  # fmt: skip
    assert {kind: len(layers) for kind, layers in some.items()} == {"cross": 1}
    assert_allclose(some["cross"][0], every["cross"][1], rtol=0, atol=1e-6)


def test_a_part_takes_only_what_it_depends_on() -> None:
    a, b, c, d = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "abcd")
    nodes = [
        helper.make_node("Add", ["a", "a"], ["twice"]),
        helper.make_node("Softmax", ["twice"], ["shares"]),
        helper.make_node("Mul", ["shares", "b"], ["c"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "whole", [a, b], [c, d]), opset_imports=[helper.make_opsetid("", 21)]
    )
    part = onnx.load_from_string(subgraph(model.SerializeToString(), ["shares"]))
    assert [node.op_type for node in part.graph.node] == ["Add", "Softmax"]
    assert [value.name for value in part.graph.input] == ["a"]
    assert [value.name for value in part.graph.output] == ["shares"]
    assert part.opset_import[0].version == 21


def test_a_graph_without_attention_is_refused(draw_network: Callable[..., Transformer], tmp_path: Path) -> None:
    network = draw_network()
    write_graphs(network, "float32", tmp_path)
    (tmp_path / "decoder.onnx").write_bytes((tmp_path / "encoder.onnx").read_bytes())
    with pytest.raises(ModelError, match="does not show attention weights; export the model again"):
        AttentionGraphs(tmp_path, network.spec, ["encoder.onnx", "decoder.onnx"], device="cpu", threads=1)
