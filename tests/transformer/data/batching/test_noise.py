"""Noise for denoising: what is left out can be put back."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import ModelError
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.noise import PIECES, Noise
from heed.transformer.data.vocabulary import train_tokenizer

LINES = ["the cat sat on the mat", "the dog ate the cat", "a hat, a rat, and that"] * 20
TEXTS = st.lists(st.integers(400, 420), min_size=1, max_size=60)  # no such token is special


@functools.cache
def tokenizer(kind: str) -> Tokenizer:
    return train_tokenizer(LINES, vocab_size=130 if kind == "spans" else 40, name="cats", control=PIECES[kind])


@given(TEXTS, st.floats(0.1, 0.5), st.integers(0, 99))
def test_masks_stand_for_what_is_missing(tokens: list[int], share: float, seed: int) -> None:
    """The text is what is read, with something else than nothing in the place of each mask."""
    noise = Noise("infilling", share, 3.0, tokenizer("infilling"))
    read, written = noise(tokens, np.random.default_rng(seed))
    marks = {token for token in read if token < 400}
    assert len(marks) <= 1
    assert written == tokens
    parts, place = [list[int]()], 0
    for token in read:
        if token in marks:
            parts.append([])
        else:
            parts[-1].append(token)
    assert tokens[: len(parts[0])] == parts[0]
    assert tokens[len(tokens) - len(parts[-1]) :] == parts[-1]
    for part in parts[:-1]:
        place += len(part) + 1
    assert place + len(parts[-1]) <= len(tokens)
    n_missing = len(tokens) - sum(map(len, parts))
    assert n_missing <= max(1, round(share * len(tokens)))


@given(TEXTS, st.floats(0.1, 0.5), st.integers(0, 99))
def test_spans_after_their_sentinels_complete_the_text(tokens: list[int], share: float, seed: int) -> None:
    noise = Noise("spans", share, 3.0, tokenizer("spans"))
    read, written = noise(tokens, np.random.default_rng(seed))
    spans: dict[int, list[int]] = {}
    for token in written:
        if token < 400:
            assert token not in spans
            spans[token] = []
        else:
            list(spans.values())[-1].append(token)
    assert all(spans.values())
    restored = [part for token in read for part in (spans[token] if token < 400 else [token])]
    assert restored == tokens
    assert list(spans) == [token for token in read if token < 400]


def test_as_many_tokens_are_missing_as_were_asked_for() -> None:
    noise, random = Noise("infilling", 0.3, 3.0, tokenizer("infilling")), np.random.default_rng(1)
    texts = [list(range(400, 440)) for _ in range(200)]
    missing = [len(text) - sum(token >= 400 for token in noise(text, random)[0]) for text in texts]
    assert np.mean(missing) / 40 == pytest.approx(0.3, abs=0.03)


def test_a_vocabulary_without_the_pieces_is_refused() -> None:
    with pytest.raises(ModelError, match="has no <mask> piece"):
        Noise("infilling", 0.3, 3.0, tokenizer("spans"))
