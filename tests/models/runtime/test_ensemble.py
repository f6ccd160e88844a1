"""Ensembles: the average of what their members say, and one model several times is that model."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from heed.models.arrays import FloatArray
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.errors import ModelError
from heed.models.runtime.ensemble import EnsembleNetwork
from heed.models.spec.network import NetworkSpec
from heed.transformer.decoding import TorchNetwork
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

V = 13
SPECIAL = SpecialIds(bos_id=2, eos_id=3, suppressed=(1,))
SOURCES = [[5, 6, 7, 8, 3], [9, 3], [4, 4, 10, 3]]
Describe = Callable[..., NetworkSpec]


@pytest.fixture
def members(describe: Describe, draw: Callable[[NetworkSpec], Transformer]) -> list[Transformer]:
    return [draw(describe("translate", vocab_size=V, **options)) for options in ({}, {"d_model": 24, "n_heads": 3})]


@torch.inference_mode()
def averaged(members: list[Transformer], source: list[int], tokens: list[int]) -> FloatArray:
    """The mean log-probabilities after each token, (T, V), in one pass each."""
    src, tgt = torch.tensor([source]), torch.tensor([tokens])
    passes = [each(src, padding_mask(src, 0), tgt)[0].log_softmax(-1).numpy() for each in members]
    return np.mean(passes, axis=0)


def test_an_ensemble_searches_by_the_mean_of_the_log_probabilities(members: list[Transformer]) -> None:
    ensemble = EnsembleNetwork([TorchNetwork(each) for each in members])
    for beam_size in (1, 3):
        config = DecodeConfig(beam_size=beam_size, max_length=6)
        for source, (best,) in zip(
            SOURCES, search(ensemble.state(), SOURCES, config, SPECIAL, context=ensemble.context), strict=True
        ):
            tokens = [SPECIAL.bos_id, *best.tokens]
            log_probs = averaged(members, source, tokens)
            said = log_probs[np.arange(len(best.tokens)), best.tokens].sum()
            if len(best.tokens) < 6:
                said += log_probs[-1, SPECIAL.eos_id]
            assert best.log_prob == pytest.approx(said, abs=1e-4)
            if beam_size == 1:
                log_probs[:, list(SPECIAL.suppressed)] = -np.inf
                assert log_probs[: len(best.tokens)].argmax(axis=1).tolist() == best.tokens


def test_scores_of_an_ensemble_are_means(members: list[Transformer]) -> None:
    state = EnsembleNetwork([TorchNetwork(each) for each in members]).state()
    src, tgt, targets = np.array([SOURCES[0]]), np.array([[2, 5, 6]]), np.array([[5, 6, 3]])
    state.encode(src, np.ones(src.shape, dtype=bool))
    expected = averaged(members, SOURCES[0], tgt[0].tolist())
    np.testing.assert_allclose(state.forced(tgt)[0], expected, atol=1e-5)
    np.testing.assert_allclose(state.score(tgt, targets)[0], expected[np.arange(3), targets[0]], atol=1e-5)


def test_members_need_one_vocabulary(describe: Describe) -> None:
    networks = [TorchNetwork(Transformer(describe("translate", vocab_size=size))) for size in (V, V + 1)]
    with pytest.raises(ModelError, match="one vocabulary"):
        EnsembleNetwork(networks)


def test_a_model_twice_translates_as_that_model(bundle: Path, heed: Callable[..., Result]) -> None:
    lines = "1 2 3\n7\n\n9 0\n"
    single = heed("translate", "-m", bundle, "--json", "--no-shortlist", stdin=lines.encode())
    several = heed("translate", "-m", bundle, "-m", bundle, "--json", stdin=lines.encode())
    assert (single.exit_code, several.exit_code) == (0, 0), several.stderr
    for one, other in zip(single.stdout.splitlines(), several.stdout.splitlines(), strict=True):
        before, after = json.loads(one), json.loads(other)
        assert after.pop("score") == pytest.approx(before.pop("score"), abs=1e-5)
        assert after.pop("confidence") == pytest.approx(before.pop("confidence"), abs=1e-3)
        assert after == before


def test_another_vocabulary_is_refused(bundle: Path, heed: Callable[..., Result]) -> None:
    result = heed("translate", "-m", bundle, "-m", "en-de", stdin=b"1\n")
    assert result.exit_code == 4
    assert str(bundle) in result.stderr
    assert "an ensemble has one vocabulary" in result.stderr
