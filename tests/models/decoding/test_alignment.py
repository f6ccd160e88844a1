"""Word alignment: which weights count as whose, and which words are linked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from heed.models.arrays import FloatArray
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.alignment import align, attended, links, token_weights
from heed.models.decoding.config import AlignmentHeads
from heed.models.runtime.attention import AttentionGraphs
from heed.models.runtime.states import States
from heed.models.tasks.translation.aligner import Aligner
from heed.models.tasks.translation.translation import Sentence, Translation, combine
from heed.models.text.words import spaced_words, word_spans

PAIRS = [
    ("The red car is old.", "Das rote Auto ist alt."),
    ("We sing.", "Wir singen."),
    ("I bought a book yesterday.", "Gestern habe ich ein Buch gekauft."),
]


@st.composite
def shares(draw: st.DrawFn) -> FloatArray:
    n_src, n_tgt = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    values = draw(st.lists(st.floats(0, 1, width=32), min_size=n_src * n_tgt, max_size=n_src * n_tgt))
    return np.array(values, dtype=np.float32).reshape(n_src, n_tgt)


@given(shares())
def test_every_word_that_has_a_share_is_linked_with_its_largest(of_words: FloatArray) -> None:
    found = links(of_words)
    assert found == sorted(set(found))
    for j in range(of_words.shape[1]):
        if of_words[:, j].any():
            assert (int(of_words[:, j].argmax()), j) in found
    for i, j in found:
        assert of_words[i, j] in (of_words[:, j].max(), of_words[i].max())


def test_words_that_white_space_separates_lose_marks_at_their_ends() -> None:
    text = " «Don't,» he said … (1.5 km/h)."
    assert [text[slice(*span)] for span in spaced_words(text)] == ["Don't", "he", "said", "…", "1.5", "km/h"]


def test_rows_that_predict_come_one_before_those_that_read() -> None:
    layer = np.arange(2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4)  # two tokens before three of the target
    reads = AlignmentHeads(layer=0, heads=(0, 2), ahead=False, agreement=1.0)
    ahead = AlignmentHeads(layer=0, heads=(1,), ahead=True, agreement=1.0)
    assert_allclose(token_weights(layer, reads, 2), (layer[:, 0, 2:] + layer[:, 2, 2:]) / 2)
    assert_allclose(token_weights(layer, ahead, 2), layer[:, 1, 1:4])


@pytest.fixture(scope="module")
def model() -> Bundle:
    return Bundle(find(None))


def aligner(model: Bundle, heads: AlignmentHeads | None) -> Aligner:
    """That of the default model, with these heads in the place of its own."""
    tokenizers = model.tokenizers()

    def attention() -> AttentionGraphs:
        assert heads is not None
        layers, spec = {"cross": [heads.layer]}, model.manifest.network
        return AttentionGraphs(model.path, spec, model.manifest.files, device="cpu", threads=1, layers=layers)

    return Aligner(
        tokenizers, States(lambda: model.network(device="cpu", threads=1)), attention if heads else None, heads
    )


def test_a_batch_is_each_alone(model: Bundle) -> None:
    heads = AlignmentHeads(layer=0, heads=(0, 1), ahead=True, agreement=1.0)
    graphs = AttentionGraphs(
        model.path, model.manifest.network, model.manifest.files, device="cpu", threads=1, layers={"cross": [0]}
    )
    tokenizers = model.tokenizers()
    for pair, found in zip(PAIRS, attended(graphs, heads, tokenizers, PAIRS), strict=True):
        (alone,) = attended(graphs, heads, tokenizers, [pair])
        assert found.shape == (len(word_spans(pair[0])), len(word_spans(pair[1])))
        assert_allclose(found, alone, rtol=0, atol=0.02)  # int8: the scale of activations depends on the batch
        assert (found.sum(axis=0) <= 1 + 1e-5).all()


def test_a_few_words_are_linked_as_a_person_would(model: Bundle) -> None:
    """By the model's own heads, and by hiding words."""
    for way in {model.manifest.alignment, None}:
        found = aligner(model, way).links(PAIRS)
        for (src, tgt), of_pair in zip(PAIRS, found, strict=True):
            assert of_pair is not None
            words = {(src[slice(*a)], tgt[slice(*b)]) for a, b in of_pair}
            certain = {("red", "rote"), ("car", "Auto"), ("old", "alt"), ("sing", "singen"), ("book", "Buch")}
            certain |= {("yesterday", "Gestern"), ("bought", "gekauft")}
            assert {(a, b) for a, b in certain if a in src} <= words


def test_texts_too_long_and_empty_ones_are_not_aligned(model: Bundle) -> None:
    assert aligner(model, None).links([("word " * 600, "Wort"), ("", ""), ("Yes.", "Ja.")]) == [
        None,
        None,
        [((0, 3), (0, 2))],
    ]


def test_hiding_with_other_words_is_of_those(model: Bundle) -> None:
    state, (src, tgt) = model.network(device="cpu", threads=1).state(), PAIRS[0]
    found = align(state, model.tokenizers(), src, tgt, (spaced_words(src), spaced_words(tgt)))
    assert found.shape == (5, 5)


@given(st.lists(st.tuples(st.sampled_from(["Yes", "No no"]), st.sampled_from([" ", "", "  "])), min_size=1, max_size=4))
def test_links_of_sentences_stay_on_their_words(parts: list[tuple[str, str]]) -> None:
    """When sentences are joined to lines, whatever stands between them."""
    chosen = []
    for text, after in parts:
        made = text.replace("Yes", "Jaja").replace("No", "Nein")
        spans = tuple(zip(spaced_words(text), spaced_words(made), strict=True))
        chosen.append((Sentence(text, [1], " ", after), [Translation(made, [1], -1.0, -1.0, links=spans)]))
    (line,) = combine(chosen, 1)
    source = "".join(f" {text}{after}" for text, after in parts)
    pairs = {(source[slice(*a)], line.text[slice(*b)]) for a, b in line.links}
    assert pairs <= {("Yes", "Jaja"), ("No", "Nein"), ("no", "no")}
    assert len(line.links) == sum(len(text.split()) for text, _ in parts)
