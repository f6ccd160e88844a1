"""float16, as far as a CPU can show it: its kernels there are those of float32 with roundings between."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from heed.export.exporter import write_graphs
from heed.export.proof.parity import LOSS_LIMITS
from heed.models.arrays import FloatArray, IntArray
from heed.models.runtime.network import OnnxNetwork
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

PAD, V = 0, 23
NETWORKS = {
    "post, tied": {"norm_placement": "after", "tied": True},
    "pre, tied": {"norm_placement": "before", "tied": True},
    "post, untied": {"norm_placement": "after", "tied": False},
    "pre, two vocabularies": {"norm_placement": "before", "tied": False, "src_vocab_size": 19},
}
# float16 keeps 11 bits: a product is off by up to 5e-4 of itself, and there are some dozens in a row. int8 is off by
# ten times as much.
LIMIT = 0.02


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, draw_network: Callable[..., Transformer]) -> Transformer:
    return draw_network(vocab_size=V, **NETWORKS[request.param])


def n_sources(network: Transformer) -> int:
    assert network.spec.encoder is not None
    return network.spec.encoder.vocab_size


def load(network: Transformer, directory: Path, precision: str = "float16") -> OnnxNetwork:
    files = write_graphs(network, precision, directory)
    return OnnxNetwork(directory, network.spec, files, device="cpu", threads=1)


def draw(network: Transformer) -> tuple[IntArray, IntArray]:
    """Sources of 2, 9 and 5 tokens, and targets of 7."""
    src = torch.randint(4, n_sources(network), (3, 9)).numpy()
    src[0, 2:], src[2, 5:] = PAD, PAD
    return src, torch.randint(2, V, (3, 7)).numpy()


def log_probs(exported: OnnxNetwork, src: IntArray, tgt: IntArray) -> FloatArray:
    state = exported.state()
    state.encode(src, src != PAD)
    return state.forced(tgt)


def test_log_probabilities_are_nearly_those_of_pytorch(network: Transformer, tmp_path: Path) -> None:
    src, tgt = draw(network)
    found = log_probs(load(network, tmp_path), src, tgt)
    ids = torch.from_numpy(src)
    with torch.inference_mode():
        expected = network(ids, padding_mask(ids, PAD), torch.from_numpy(tgt)).log_softmax(-1).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, rtol=1e-5)  # in float16 they would add to 1 within 1e-2
    assert 1e-5 < np.abs(found - expected).mean() < LIMIT / 4


def test_step_by_step_is_the_whole_target(network: Transformer, tmp_path: Path) -> None:
    """In steps of 1 and with caches that grow, which are the only ones to be copied."""
    exported, (src, tgt) = load(network, tmp_path), draw(network)
    whole, state = log_probs(exported, src, tgt), exported.state()
    state.encode(src, src != PAD)
    state.prefill(tgt[:, :1], tgt[:, :1] != PAD)
    for position in range(tgt.shape[1]):
        seen, slots = np.ones((3, 1, position + 1), dtype=bool), np.full((3, 1), position)
        top, ids = state.step(tgt[:, position : position + 1], position, slots, seen, V)
        step = np.empty_like(top)
        np.put_along_axis(step, ids, top, axis=2)
        np.testing.assert_allclose(step[:, 0], whole[:, position], atol=2 * LIMIT)


def test_weights_keys_and_values_are_half_as_large(network: Transformer, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("float32", "float16"):
        directory = tmp_path / precision
        directory.mkdir()
        decoder = load(network, directory, precision).session("decoder")
        kept = [value for value in (*decoder.get_inputs(), *decoder.get_outputs()) if "keys." in value.name]
        assert {value.type for value in kept} == {"tensor(float16)" if precision == "float16" else "tensor(float)"}
        sizes[precision] = (directory / "weights.bin").stat().st_size
    assert sizes["float16"] < 0.7 * sizes["float32"]  # layer norms stay in float32, and these weights are few


def test_a_shortlist_leaves_out_the_rest_of_the_vocabulary_and_nothing_else(
    network: Transformer, tmp_path: Path
) -> None:
    always = np.array([3, 8, 9, 20], dtype=np.int32)
    likely = np.arange(4, 4 + n_sources(network), dtype=np.int32)[:, None] % V
    files = write_graphs(network, "float16", tmp_path, Shortlist(likely, always))
    whole, narrowed = (
        OnnxNetwork(tmp_path, network.spec, files, device="cpu", threads=1, shortlist=shortlist)
        for shortlist in (False, True)
    )
    src, tgt = draw(network)
    state = narrowed.state()
    state.encode(src, src != PAD)
    state.prefill(tgt[:, :1], tgt[:, :1] != PAD)
    mask, slots = np.ones((3, 1, 1), dtype=bool), np.zeros((3, 1), dtype=np.int64)
    found, ids = state.step(tgt[:, :1], 0, slots, mask, V)
    for row in range(3):
        own = np.array(sorted(set(always.tolist()) | set(likely[src[row][src[row] != PAD]].ravel().tolist())))
        possible = np.isfinite(found[row, 0])
        assert sorted(ids[row, 0][possible].tolist()) == own.tolist()
        expected = log_probs(whole, src, tgt)[row, 0, ids[row, 0][possible]]
        expected -= np.log(np.exp(expected).sum())
        np.testing.assert_allclose(found[row, 0][possible], expected, atol=2 * LIMIT)


def test_an_exported_run_translates_as_in_float32(
    trained: Path,
    bundle: Path,
    tmp_path: Path,
    heed: Callable[..., Result],
    digit_lines: Callable[[int, int], list[str]],
) -> None:
    model = tmp_path / "half"
    result = heed("export", trained, "-o", model, "--precision", "float16")
    assert result.exit_code == 0, result.stderr
    manifest = json.loads((model / "heed.json").read_text("utf-8"))
    parity = manifest["parity"]
    assert manifest["precision"] == "float16"
    assert abs(parity["loss_bundle"] - parity["loss_torch"]) < LOSS_LIMITS["float16"] / 10
    # A network of 150 steps is sure of little: where two tokens are about as likely, a rounding decides.
    assert min(parity["greedy_identical"], parity["beam_identical"]) >= 0.9 * parity["texts"]
    lines = "".join(line + "\n" for line in digit_lines(50, 9)).encode()
    half, full = (heed("translate", "-m", path, "--threads", "1", stdin=lines).stdout for path in (model, bundle))
    same = [a == b for a, b in zip(half.splitlines(), full.splitlines(), strict=True)]
    assert sum(same) >= 0.9 * len(same)
    assert len(set(full.splitlines())) > 20
