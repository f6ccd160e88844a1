"""Attention in integers, in every form of network that can have it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.export.exporter import write_graphs
from heed.export.onnx.calibration.attention_scales import attention_scales
from heed.export.onnx.calibration.calibration import Calibration, calibrate
from heed.export.onnx.integer_attention import fits_integers
from heed.models.arrays import FloatArray
from heed.models.decoding.batching import padded
from heed.models.runtime.network import OnnxNetwork
from heed.models.spec.network import NetworkSpec
from heed.models.tasks.scorer import ScoringInput
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

BOS = 2
SOURCES = [[4, 5, 6, 7, 3], [9, 3], [4, 4, 10, 8, 7, 6, 5, 9, 3]]
TARGETS = [[BOS, 5, 6, 9, 4, 4, 8], [BOS, 8, 8, 10, 7, 5, 6], [BOS, 4, 9, 4, 10, 6, 7]]
PASSAGES = [ScoringInput([], tgt[1:], src) for src, tgt in zip(SOURCES, TARGETS, strict=True)]


def log_probs(network: OnnxNetwork | TorchNetwork) -> FloatArray:
    state = network.state()
    state.encode(*padded(SOURCES))
    return state.forced(np.array(TARGETS))


def exported(network: Transformer, calibration: Calibration) -> FloatArray:
    with tempfile.TemporaryDirectory() as directory:
        files = write_graphs(network, "int8", Path(directory), None, calibration)
        return log_probs(OnnxNetwork(Path(directory), network.spec, files, device="cpu", threads=1))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_it_is_as_near_to_pytorch_as_attention_in_floats(
    specs: st.SearchStrategy[NetworkSpec], draw: Callable[[NetworkSpec], Transformer], data: st.DataObject
) -> None:
    """With biases, biases of distance, soft caps, norms of any kind: what is rounded besides shows little."""
    network = draw(data.draw(specs.filter(fits_integers)))
    calibration = calibrate(network, "int8", PASSAGES, BOS)
    assert calibration.attention
    expected = log_probs(TorchNetwork(network))
    in_integers, in_floats = (
        np.abs(exported(network, each) - expected).mean() for each in (calibration, calibration._replace(attention={}))
    )
    assert in_integers < 1.5 * in_floats + 0.02


@pytest.mark.parametrize("options", [{"positions": "rotary"}, {"n_kv_heads": 1}], ids=str)
def test_networks_whose_scales_would_not_pass_keep_floats(
    draw_network: Callable[..., Transformer], options: dict[str, object]
) -> None:
    network = draw_network(**options)
    assert not fits_integers(network.spec)
    assert not calibrate(network, "int8", PASSAGES, BOS).attention


def test_the_largest_numbers_of_the_calibration_are_the_outermost_levels(
    draw_network: Callable[..., Transformer],
) -> None:
    """Of each channel of keys and values, and of each head of queries."""
    network, seen = draw_network(), dict[str, torch.Tensor]()
    name = "decoder.layers.0.self_attention"
    for part in ("query", "key", "value"):
        network.get_submodule(f"{name}.{part}").register_forward_hook(
            lambda _, __, made, part=part: seen.__setitem__(part, made[0])
        )
    scales = attention_scales(network, PASSAGES[:1], BOS)[name]
    attention = network.spec.decoder.attention  # type: ignore[union-attr]
    heads = {part: made.unflatten(-1, (attention.n_heads, -1)).numpy() for part, made in seen.items()}
    for part, steps in (("key", scales.keys), ("value", scales.values)):
        np.testing.assert_allclose(np.abs(heads[part] / steps).max(axis=0), 127, rtol=1e-5)
    steps = scales.queries[:, None] / scales.keys
    largest = np.abs(heads["query"] * attention.score_scale / steps).max(axis=(0, 2))
    np.testing.assert_allclose(largest, 63, rtol=1e-5)
