import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from heed.export.exporter import write_graphs
from heed.export.importers.bundle import _Stored as Stored
from heed.export.importers.bundle import find_weights, from_bundle, read_arrays
from heed.models.bundle.catalog import DEFAULT, DEFAULT_TEXT
from heed.models.bundle.manifest import read
from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.transformer.model import Transformer

LARGEST = {"float32": 1, "int8": 63, "int4": 8}  # a weight is off by half of so little of the largest at most


def read_back(network: Transformer, precision: str, directory: Path) -> dict[str, torch.Tensor]:
    """What is found again of a network's weights in its graphs."""
    files = write_graphs(network, precision, directory)
    return find_weights(Stored(read_arrays(directory, files), network.spec, precision, scaled=True), directory)


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_weights_are_found_again(
    specs: st.SearchStrategy[NetworkSpec],
    draw: Callable[[NetworkSpec], Transformer],
    tmp_path_factory: pytest.TempPathFactory,
    precision: str,
    data: st.DataObject,
) -> None:
    """The same names and, but for the rounding of matrices to a step of their largest weight, the same numbers."""
    network = draw(data.draw(specs.filter(lambda spec: spec.decoder is not None)))
    found = read_back(network, precision, tmp_path_factory.mktemp("graphs"))
    expected = dict(network.named_parameters())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        rounded = precision != "float32" and value.dim() > 1 and "positions" not in name and "relative_bias" not in name
        if rounded:  # a step may be cut off at the end of the range, where four bits have no 8
            step = value.abs().max() / LARGEST[precision]
            assert (found[name] - value).abs().max() <= step * (1.001 if precision == "int4" else 0.501), name
        else:
            assert_close(found[name], value, msg=name)


def test_int8_bundles_of_before_are_read_too(draw_network: Callable[..., Transformer], tmp_path: Path) -> None:
    """They kept every matrix by its rows, and turned it whenever they were loaded."""
    network = draw_network()
    expected = read_back(network, "int8", tmp_path)
    arrays = read_arrays(tmp_path, ["encoder.onnx", "decoder.onnx"])
    of_columns = [name for name in arrays if name.endswith(".int8_columns")]
    assert of_columns
    before = {name: array for name, array in arrays.items() if name not in of_columns}
    before |= {name.removesuffix("_columns"): arrays[name].T for name in of_columns}
    found = find_weights(Stored(before, network.spec, "int8", scaled=True), tmp_path)
    assert all(torch.equal(array, expected[name]) for name, array in found.items())


@pytest.mark.parametrize("path", [DEFAULT, DEFAULT_TEXT], ids=["translate", "generate"])
def test_the_weights_of_the_default_models_are_all_there(path: Path) -> None:
    """Their graphs have the names of version 0.1."""
    initial, shapes = from_bundle(path), parameters(read(path).network)
    assert {name: tuple(value.shape) for name, value in initial.weights.items()} == shapes
    assert all(value.isfinite().all() and value.any() for value in initial.weights.values())


def test_a_bundle_of_hard_links_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    """As uv and conda install files."""
    linked = shutil.copytree(shutil.copytree(bundle, tmp_path / "copy"), tmp_path / "linked", copy_function=os.link)
    assert (linked / "weights.bin").stat().st_nlink == 2
    found, expected = from_bundle(linked).weights, from_bundle(bundle).weights
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
