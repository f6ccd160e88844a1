import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from heed.export.exporter import write_graphs
from heed.export.importers.bundle import find_weights, from_bundle, read_arrays
from heed.export.text_exporter import write_text_graphs
from heed.transformer.language_model import LanguageModel
from heed.transformer.model import Transformer

GRAPHS = {Transformer: ["encoder.onnx", "decoder.onnx"], LanguageModel: ["stream.onnx", "decoder.onnx"]}


def read_back(network: Transformer | LanguageModel, precision: str, directory: Path) -> dict[str, torch.Tensor]:
    """What is found again of a network's weights in its graphs, under all of their names."""
    if isinstance(network, Transformer):
        write_graphs(network, precision, directory)
    else:
        write_text_graphs(network, precision, directory)
    arrays = read_arrays(directory, GRAPHS[type(network)])
    weights = find_weights(arrays, network.config, precision, directory)
    if isinstance(network, Transformer) and network.config.tied_embeddings:
        shared = weights["src_embedding.weight"]
        weights |= {"tgt_embedding.weight": shared, "projection.weight": shared}
    return weights


@pytest.mark.parametrize("sizes", [{"tied_embeddings": True, "norm": "pre"}, {"tied_embeddings": False}], ids=str)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_translation_model_s_weights_are_found_again(
    draw_network: Callable[[Mapping[str, object]], Transformer],
    sizes: dict[str, object],
    precision: str,
    tmp_path: Path,
) -> None:
    V = 30 if sizes["tied_embeddings"] else 31
    network = draw_network({**sizes, "src_vocab_size": 30, "tgt_vocab_size": V})
    assert_found(read_back(network, precision, tmp_path), network.state_dict(), precision, largest=63)


def test_int8_bundles_of_before_are_read_too(
    draw_network: Callable[[Mapping[str, object]], Transformer], tmp_path: Path
) -> None:
    """They kept every matrix by its rows, and turned it whenever they were loaded."""
    network = draw_network({})
    expected = read_back(network, "int8", tmp_path)
    arrays = read_arrays(tmp_path, GRAPHS[Transformer])
    of_columns = [name for name in arrays if name.endswith(".int8_columns")]
    assert of_columns
    before = {name: array for name, array in arrays.items() if name not in of_columns}
    before |= {name.removesuffix("_columns"): arrays[name].T for name in of_columns}
    found = find_weights(before, network.config, "int8", tmp_path)
    assert all(torch.equal(array, expected[name]) for name, array in found.items())


@pytest.mark.parametrize(
    "sizes",
    [{}, {"positions": "rotary", "norm": "rms", "activation": "swiglu", "biases": False, "n_kv_heads": 1}],
    ids=["gpt2", "modern"],
)
@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_a_language_model_s_weights_are_found_again(
    draw_language_model: Callable[..., LanguageModel], sizes: dict[str, object], precision: str, tmp_path: Path
) -> None:
    network = draw_language_model(**sizes, vocab_size=50)
    largest = {"float32": 1, "int8": 127, "int4": 8}[precision]
    assert_found(read_back(network, precision, tmp_path), network.state_dict(), precision, largest)


def assert_found(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], precision: str, largest: int
) -> None:
    """The same names and, but for the rounding of matrices to a step of their largest weight, the same numbers."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if precision == "float32" or value.dim() == 1 or name.startswith("position"):
            assert_close(found[name], value, msg=name)
        else:  # a step may be cut off at the end of the range, where four bits have no 8
            step = value.abs().max() / largest
            assert (found[name] - value).abs().max() <= step * (1.001 if precision == "int4" else 0.501), name
            assert not torch.equal(found[name], value)


def test_a_bundle_of_hard_links_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    """As uv and conda install files."""
    linked = shutil.copytree(shutil.copytree(bundle, tmp_path / "copy"), tmp_path / "linked", copy_function=os.link)
    assert (linked / "weights.bin").stat().st_nlink == 2
    found, expected = from_bundle(linked).weights, from_bundle(bundle).weights
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
