import re

import pytest

from heed.models.errors import DataError
from heed.transformer.data.vocabulary import train_tokenizer

TEXT = [
    "the cat sat on the mat",
    "a dog ate the log",
    "cats and dogs",
    "\u201eG\u00e4nsef\u00fc\u00dfchen\u201c \u2013 \u65e5\u672c",
]


def test_text_that_was_learnt_from_comes_back() -> None:
    tokenizer = train_tokenizer(TEXT, vocab_size=60, name="test.en")
    assert len(tokenizer) == 60
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert all(token >= 4 for line in ids for token in line)  # no special piece, so nothing unknown


def test_the_special_pieces_come_first() -> None:
    tokenizer = train_tokenizer(TEXT, vocab_size=60, name="test.en")
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)


def test_frequent_words_become_one_piece() -> None:
    lines = ["the cat", "the dog", "the end"] * 10
    characters = {character for line in lines for character in line}
    tokenizer = train_tokenizer(lines, vocab_size=4 + len(characters) + 6, name="test.en")
    assert len(tokenizer.encode(["the"])[0]) == 1
    assert len(tokenizer.encode(["hte"])[0]) > 1


def test_what_was_never_seen_is_unknown() -> None:
    tokenizer = train_tokenizer(TEXT, vocab_size=60, name="test.en")
    assert tokenizer.unk_id in tokenizer.encode(["\u03a9"])[0]


def test_the_same_text_gives_the_same_model() -> None:
    first, second = (train_tokenizer(TEXT, vocab_size=60, name="test.en").model for _ in range(2))
    assert first == second


def test_a_vocabulary_too_large_is_refused_with_a_size_that_works() -> None:
    with pytest.raises(DataError) as caught:
        train_tokenizer(TEXT, vocab_size=5000, name="test.en")
    limit = re.fullmatch(
        r"test\.en: the text supports a vocabulary of at most (\d+); give --vocab-size (\d+) or less", str(caught.value)
    )
    assert limit is not None
    assert limit[1] == limit[2]
    assert len(train_tokenizer(TEXT, vocab_size=int(limit[1]), name="test.en")) == int(limit[1])


@pytest.mark.parametrize("verbatim", [False, True], ids=["normalized", "verbatim"])
def test_a_vocabulary_too_small_is_refused_with_a_size_that_works(verbatim: bool) -> None:
    with pytest.raises(DataError) as caught:
        train_tokenizer(TEXT, vocab_size=10, name="test.en", verbatim=verbatim)
    limit = re.fullmatch(
        r"test\.en: a vocabulary of 10 is smaller than the (\d+) pieces that all characters need; "
        r"give --vocab-size (\d+) or more",
        str(caught.value),
    )
    assert limit is not None
    assert limit[1] == limit[2]
    found = train_tokenizer(TEXT, vocab_size=int(limit[1]), name="test.en", verbatim=verbatim)
    assert len(found) == int(limit[1])


@pytest.mark.parametrize("text", [[], [""], ["  ", "\t"]], ids=["no line", "an empty line", "white space"])
def test_a_text_without_a_character_is_refused(text: list[str]) -> None:
    with pytest.raises(DataError, match=r"^test\.en: no vocabulary of 60 could be learnt .*--vocab-size$"):
        train_tokenizer(text, vocab_size=60, name="test.en")
