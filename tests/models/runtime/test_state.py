from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heed.export.exporter import write_graphs
from heed.models.arrays import BoolArray
from heed.models.decoding.batching import padded
from heed.models.errors import HeedError
from heed.models.runtime.graphs import Graphs
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.state import ENCODED, _computed
from heed.models.spec.network import NetworkSpec
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 6))


@given(SHAPES.flatmap(lambda shape: arrays.arrays(bool, shape)))
def test_each_live_token_is_found_in_its_row(live: BoolArray) -> None:
    """Where groups made the rows as many as the tokens, they were once taken to be in the order of the tokens."""
    live.flat[0] = True
    tokens, rows = _computed(live.shape, live)
    assert len(tokens) <= live.size
    numbers = np.arange(live.size).reshape(live.shape)
    np.testing.assert_array_equal(tokens[rows][live], numbers[live])
    if len(tokens) == live.size:  # then nothing has to be put in order
        np.testing.assert_array_equal(tokens, numbers.ravel())


def test_without_a_mask_all_are_computed() -> None:
    tokens, rows = _computed((3, 2), None)
    assert tokens.tolist() == [0, 1, 2, 3, 4, 5]
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_sources_of_unequal_lengths_are_encoded_as_by_pytorch(
    tmp_path: Path, describe: Callable[..., NetworkSpec]
) -> None:
    """They are encoded some at a time, sorted by length, with less padding than the batch has."""
    torch.manual_seed(3)
    network = Transformer(describe(vocab_size=9)).eval()
    files = write_graphs(network, "float32", tmp_path)
    random = np.random.default_rng(3)
    sources = [random.integers(4, 9, size=n).tolist() for n in random.permutation(2 * ENCODED + 3) % 12 + 1]
    tgt = np.full((len(sources), 3), 5)
    scores = []
    for each in (OnnxNetwork(tmp_path, network.spec, files, device="cpu", threads=1), TorchNetwork(network)):
        state = each.state()
        src, src_mask = padded(sources)
        state.encode(src, src_mask)
        scores.append(state.score(tgt, tgt, src_mask))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-5)


def refuse(*_: object) -> None:
    raise HeedError("out of memory")


def test_threads_of_a_small_network_have_sessions_of_their_own(
    tmp_path: Path, describe: Callable[..., NetworkSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not where memory is short, or its files are another model's by then."""
    torch.manual_seed(3)
    spec = describe(vocab_size=9)
    files = write_graphs(Transformer(spec).eval(), "float32", tmp_path)
    network = OnnxNetwork(tmp_path, spec, files, device="cpu", threads=1)
    graphs = [network.state()._graphs for _ in range(3)]
    assert graphs[0] is network
    assert len({id(each.session("decoder")) for each in graphs}) == 3
    with monkeypatch.context() as short:
        short.setattr(Graphs, "_open_first", refuse)
        assert network.state()._graphs is network
    write_graphs(Transformer(spec).eval(), "float32", tmp_path)
    assert network.state()._graphs is network
