"""Choice of alignment heads: against the measure that it follows, on the default model."""

from pathlib import Path

import pytest

from heed.export.alignment_heads import ENOUGH, choose_heads, translated
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.config import AlignmentHeads, SpecialIds
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.states import States
from heed.models.tasks.scorer import ScoringInput
from heed.models.tasks.translation.aligner import Aligner

DATA = Path(__file__).parents[1] / "data"
N = 12


@pytest.fixture(scope="module")
def model() -> Bundle:
    return Bundle(find(None))


@pytest.fixture(scope="module")
def network(model: Bundle) -> OnnxNetwork:
    return model.network(device="cpu", threads=1)


@pytest.fixture(scope="module")
def special(model: Bundle) -> SpecialIds:
    _, tgt = model.tokenizers()
    return SpecialIds(bos_id=tgt.bos_id, eos_id=tgt.eos_id, suppressed=tgt.suppressed)


@pytest.fixture(scope="module")
def passages(model: Bundle) -> list[ScoringInput]:
    src, tgt = model.tokenizers()
    sides = ((DATA / f"tatoeba.test.{side}").read_text("utf-8").split("\n")[200 : 200 + N] for side in ("en", "de"))
    encoded = (tokenizer.encode(lines) for tokenizer, lines in zip((src, tgt), sides, strict=True))
    return [ScoringInput([], [*b, tgt.eos_id], [*a, src.eos_id]) for a, b in zip(*encoded, strict=True)]


@pytest.fixture(scope="module")
def chosen(model: Bundle, network: OnnxNetwork, passages: list[ScoringInput], special: SpecialIds) -> AlignmentHeads:
    found = choose_heads(model.path, network, list(model.manifest.files), passages, special)
    assert found is not None
    return found


def test_the_chosen_heads_link_what_hiding_links(model: Bundle, network: OnnxNetwork, chosen: AlignmentHeads) -> None:
    from heed.models.runtime.attention import AttentionGraphs

    assert chosen.agreement >= ENOUGH
    layers, spec = {"cross": [chosen.layer]}, model.manifest.network
    graphs = AttentionGraphs(model.path, spec, model.manifest.files, device="cpu", threads=1, layers=layers)
    ways = (
        Aligner(model.tokenizers(), States(lambda: network), lambda: graphs, chosen),
        Aligner(model.tokenizers(), States(lambda: network)),
    )
    pairs = [("The red car is old.", "Das rote Auto ist alt."), ("I often read books.", "Ich lese oft Bücher.")]
    for ours, theirs in zip(*(way.links(pairs) for way in ways), strict=True):
        assert ours is not None
        assert theirs is not None
        assert len(set(ours) & set(theirs)) >= 0.75 * len(theirs)


def test_a_network_s_own_translations_do_where_there_are_no_others(
    model: Bundle, network: OnnxNetwork, passages: list[ScoringInput], special: SpecialIds, chosen: AlignmentHeads
) -> None:
    own = translated(network, passages, special)
    assert [each.source for each in own] == [each.source for each in passages]
    found = choose_heads(model.path, network, list(model.manifest.files), own, special)
    assert found is not None
    assert (found.layer, found.ahead) == (chosen.layer, chosen.ahead)


def test_no_heads_are_chosen_without_sources(model: Bundle, network: OnnxNetwork, special: SpecialIds) -> None:
    assert choose_heads(model.path, network, list(model.manifest.files), [ScoringInput([], [5, 6, 3])], special) is None
    assert translated(network, [ScoringInput([], [5, 6, 3])], special) == []
