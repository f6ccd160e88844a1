"""Graphs compute what the network in PyTorch does, for every form that NetworkSpec says.

Weights are far from those of a fresh network (a deviation of 0.3), so that no bias, norm or offset can be lost unseen.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.export.exporter import write_graphs
from heed.export.onnx.attention import can_stream
from heed.models.arrays import FloatArray, IntArray
from heed.models.decoding.batching import padded, place
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.runtime.encoder import OnnxEncoder
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.protocol import State
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import RelativeBuckets, RelativeSinusoids, Rotary, Sinusoidal
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.transformer.decoding import TorchNetwork
from heed.transformer.encoding import TorchEncoder
from heed.transformer.model import Transformer

Specs = st.SearchStrategy[NetworkSpec]
Draw = Callable[[NetworkSpec], Transformer]

V = 11  # the fewest tokens of a random vocabulary
SOURCES = [[4, 5, 6, 7, 3], [9, 3], [4, 4, 10, 8, 7, 6, 5, 9, 3]]
PROMPTS = [[2, 5, 6], [2], [2, 9, 4, 4, 8]]
SPECIAL = SpecialIds(bos_id=2, eos_id=3, suppressed=(0, 1, 2))
# Of sums in another order, in float32, through some layers; log-probabilities are some units, and reach 20.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}

EVERY = settings(max_examples=25, deadline=None, derandomize=True)


def exported(network: Transformer, directory: Path, precision: str = "float32") -> OnnxNetwork:
    files = write_graphs(network, precision, directory)
    return OnnxNetwork(directory, network.spec, files, device="cpu", threads=1)


def begin(state: State, sources: list[list[int]] | None, prompts: list[list[int]], *, alone: bool = False) -> None:
    if sources is not None:
        state.encode(*padded(sources))
    state.prefill(*padded(prompts), alone=alone)


def sources_of(spec: NetworkSpec) -> list[list[int]] | None:
    return SOURCES if spec.encoder else None


def forced(state: State, spec: NetworkSpec, tgt: IntArray) -> FloatArray:
    if spec.encoder:
        state.encode(*padded(SOURCES))
    return state.forced(tgt)


def steps(state: State, spec: NetworkSpec, widths: list[int]) -> list[FloatArray]:
    """What is predicted along some steps, with some outputs side by side in each; a source leaves midway."""
    random, found = np.random.default_rng(3), []
    begin(state, sources_of(spec), PROMPTS)
    tokens: IntArray = np.array([[prompt[-1]] for prompt in PROMPTS])
    seen = np.zeros((len(PROMPTS), 1, 0), dtype=bool)
    for position, width in enumerate(widths):
        slots, mask = place(seen)
        found.append(state.log_probs(tokens, position, slots, mask).copy())
        seen = mask[:, random.integers(0, tokens.shape[1], width)]
        tokens = random.integers(4, V, (len(mask), width))
        if position == 3:
            rows = np.array([2, 1])
            state.keep(rows)
            tokens, seen = tokens[rows], seen[rows]
    return found


@EVERY
@given(st.data())
def test_graphs_are_the_network(specs: Specs, draw: Draw, data: st.DataObject) -> None:
    """Whole outputs, the log-probabilities of given tokens, and steps of hypotheses after prompts."""
    network = draw(data.draw(specs.filter(lambda spec: spec.decoder is not None)))
    spec, tgt = network.spec, np.random.default_rng(1).integers(2, V, (3, 14))
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = exported(network, Path(directory)).state(), TorchNetwork(network).state()
        np.testing.assert_allclose(forced(ours, spec, tgt), forced(theirs, spec, tgt), **CLOSE)
        whole = forced(ours, spec, tgt)
        scores = ours.score(tgt[:, :-1], tgt[:, 1:])
        expected = np.take_along_axis(whole[:, :-1], tgt[:, 1:, None], axis=2)[:, :, 0]
        np.testing.assert_allclose(scores, expected, **CLOSE)
        for one, other in zip(*(steps(each, spec, [1, 3, 3, 2, 1, 1]) for each in (ours, theirs)), strict=True):
            np.testing.assert_allclose(one, other, **CLOSE)


@EVERY
@given(st.data())
def test_step_by_step_is_the_whole_and_a_batch_is_each_alone(specs: Specs, draw: Draw, data: st.DataObject) -> None:
    """Prompts of several lengths among sources of several lengths, one output a row, without slots."""
    network = draw(data.draw(specs.filter(lambda spec: spec.decoder is not None)))
    spec, continued = network.spec, np.random.default_rng(2).integers(4, V, (3, 9))
    with tempfile.TemporaryDirectory() as directory:
        state = exported(network, Path(directory)).state()
        begin(state, sources_of(spec), PROMPTS, alone=True)
        tokens, found = np.array([[prompt[-1]] for prompt in PROMPTS]), []
        for position in range(9):
            nothing = np.zeros((3, 1, 0), dtype=bool)
            found.append(state.log_probs(tokens, position, None, nothing)[:, 0].copy())
            tokens = continued[:, position : position + 1]
        for row, prompt in enumerate(PROMPTS):
            if spec.encoder:
                state.encode(*padded([SOURCES[row]]))
            whole = state.forced(np.array([[*prompt, *continued[row]]]))[0]
            n = len(prompt) - 1
            np.testing.assert_allclose(np.array(found)[:, row], whole[n : n + 9], **CLOSE)


@EVERY
@given(st.data())
@pytest.mark.parametrize("precision", ["float32", "int4"])
def test_graphs_of_an_encoder_alone_are_the_network(
    specs: Specs, draw: Draw, precision: str, data: st.DataObject
) -> None:
    """The states of a batch with padding, and what they predict; a text alone has the same ones."""
    spec = data.draw(specs.filter(lambda spec: spec.encoder is not None))
    network = draw(dataclasses.replace(spec, decoder=None))
    src, mask = padded(SOURCES)
    with tempfile.TemporaryDirectory() as directory:
        files = write_graphs(network, precision, Path(directory))
        ours = OnnxEncoder(Path(directory), network.spec, files, device="cpu", threads=1)
        theirs = TorchEncoder(network)
        states = [side.encode(src, mask)[mask] for side in (ours, theirs)]
        assert states[0].shape == (mask.sum(), network.spec.d_model)
        if precision == "float32":
            np.testing.assert_allclose(states[0], states[1], **CLOSE)
            np.testing.assert_allclose(ours.log_probs(states[0]), theirs.log_probs(states[1]), **CLOSE)
        alone = [ours.encode(*padded([source]))[0] for source in SOURCES]
        np.testing.assert_allclose(np.concatenate(alone), states[0], **CLOSE)


@pytest.mark.parametrize(("precision", "near"), [("float32", 1e-4), ("float16", 2e-2), ("int8", 0.3)])
def test_distances_are_the_network_s_in_every_precision(
    draw: Draw, precision: str, near: float, tmp_path: Path
) -> None:
    """Rows of distances are quantized apart from those of tokens; no fusion of products in float16 ends the process."""
    encoder = StackSpec(
        vocab_size=V,
        n_layers=2,
        attention=AttentionSpec(n_heads=4, n_kv_heads=4, d_head=6),
        feed_forward=FeedForwardSpec(d_ff=20, activation="gelu"),
        positions=RelativeSinusoids(last_apart=True),
    )
    network = draw(NetworkSpec(d_model=8, encoder=encoder, decoder=None, dropout=0.0))
    files = write_graphs(network, precision, tmp_path)
    ours = OnnxEncoder(tmp_path, network.spec, files, device="cpu", threads=1)
    src, mask = padded(SOURCES)
    states = ours.encode(src, mask)[mask]
    np.testing.assert_allclose(states, TorchEncoder(network).encode(src, mask)[mask], rtol=0, atol=near)
    alone = [ours.encode(*padded([source]))[0] for source in SOURCES]
    np.testing.assert_allclose(np.concatenate(alone), states, rtol=0, atol=1e-5)


def language_model(**attention: object) -> NetworkSpec:
    """A decoder alone that has a stream."""
    decoder = StackSpec(
        vocab_size=V + 2,
        n_layers=2,
        attention=AttentionSpec(n_heads=4, n_kv_heads=2, d_head=32, **attention),  # type: ignore[arg-type]
        feed_forward=FeedForwardSpec(d_ff=20, activation="gelu"),
        norm=NormSpec(kind="rms", placement="before", last=True, eps=1e-3),
        positions=Rotary(n_positions=40, base=70.0),
    )
    return NetworkSpec(d_model=18, encoder=None, decoder=decoder, shared_embedding=False, tied_output=False)


@pytest.mark.parametrize(
    "attention",
    [{}, {"window": 3}, {"qk_norm": True, "biases": True}, {"soft_cap": 2.0, "scale": 0.7, "output_bias": True}],
    ids=str,
)
def test_a_stream_is_the_network(draw: Draw, attention: dict[str, object], tmp_path: Path) -> None:
    """Alone, and in turn with the graph of several outputs: both have the same keys and values."""
    network = draw(language_model(**attention))
    ours = exported(network, tmp_path)
    assert ours.has_stream
    for widths in ([1] * 12, [1, 1, 3, 3, 1, 1, 2, 2]):
        sides = (steps(each.state(), network.spec, widths) for each in (ours, TorchNetwork(network)))
        for one, other in zip(*sides, strict=True):
            np.testing.assert_allclose(one, other, **CLOSE)


@pytest.mark.parametrize(
    ("change", "streams"),
    [({}, True), ({"d_head": 24}, False), ({"d_head": 16}, True), ({"d_head": 6}, False)],
    ids=str,
)
def test_heads_that_the_operator_refuses_have_no_stream(draw: Draw, change: dict[str, int], streams: bool) -> None:
    spec = language_model(qk_norm=False)
    assert spec.decoder is not None
    attention = AttentionSpec(n_heads=4, n_kv_heads=2, d_head=change.get("d_head", 32))
    decoder = StackSpec(
        vocab_size=V, n_layers=1, attention=attention, positions=Rotary(), feed_forward=FeedForwardSpec(d_ff=8)
    )
    assert can_stream(NetworkSpec(d_model=8, encoder=None, decoder=decoder, shared_embedding=False)) is streams


def test_relative_positions_and_encoders_have_no_stream() -> None:
    decoder = StackSpec(vocab_size=V, positions=RelativeBuckets())
    assert not can_stream(NetworkSpec(encoder=None, decoder=decoder, shared_embedding=False))
    assert not can_stream(NetworkSpec())
    sinusoidal = StackSpec(vocab_size=V, positions=Sinusoidal())
    assert can_stream(NetworkSpec(encoder=None, decoder=sinusoidal, shared_embedding=False))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.data())
@pytest.mark.parametrize("precision", ["int8", "int4", "float16"])
def test_other_precisions_are_near(specs: Specs, draw: Draw, precision: str, data: st.DataObject) -> None:
    """Every form exports in every precision, and is nearer to itself than to chance."""
    network = draw(data.draw(specs.filter(lambda spec: spec.decoder is not None)))
    tgt = np.random.default_rng(1).integers(2, V, (3, 9))
    theirs = forced(TorchNetwork(network).state(), network.spec, tgt)
    with tempfile.TemporaryDirectory() as directory:
        ours = forced(exported(network, Path(directory), precision).state(), network.spec, tgt)
    np.testing.assert_allclose(np.exp(ours).sum(-1), 1, rtol=1e-4)
    shuffled = np.random.default_rng(1).permutation(theirs.reshape(-1, theirs.shape[2])).reshape(theirs.shape)
    assert np.abs(ours - theirs).mean() < np.abs(shuffled - theirs).mean()


@EVERY
@given(st.data())
def test_a_search_finds_the_same(specs: Specs, draw: Draw, data: st.DataObject) -> None:
    """With prompts, and as many best ones as there are beams."""
    network = draw(data.draw(specs.filter(lambda spec: spec.decoder is not None)))
    config = DecodeConfig(beam_size=3, max_length=8)
    with tempfile.TemporaryDirectory() as directory:
        sides = exported(network, Path(directory)), TorchNetwork(network)
        ours, theirs = (
            search(side.state(), sources_of(network.spec), config, SPECIAL, prompts=PROMPTS, n_best=3, context=24)
            for side in sides
        )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose([found.score for found in one], [found.score for found in other], atol=1e-3)


def test_graphs_compute_without_torch_s_threads(draw: Draw, tmp_path: Path) -> None:
    """The number of threads changes nothing: each sum is one thread's."""
    assert torch.get_num_threads() == 1
    network = draw(language_model())
    files = write_graphs(network, "float32", tmp_path)
    tgt = np.random.default_rng(1).integers(2, V, (2, 9))
    found = [
        OnnxNetwork(tmp_path, network.spec, files, device="cpu", threads=threads).state().forced(tgt)
        for threads in (1, 2)
    ]
    np.testing.assert_allclose(found[0], found[1], **CLOSE)
