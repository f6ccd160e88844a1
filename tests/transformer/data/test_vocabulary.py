# ruff: noqa: RUF001, RUF002 - of other scripts, and other forms of characters
import itertools
import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import DataError
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.vocabulary import (
    LARGE,
    Coverage,
    count_characters,
    extended,
    normalized,
    train_tokenizer,
    with_pieces_of,
)

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


def test_each_digit_is_a_piece() -> None:
    tokenizer = train_tokenizer(["call 555 or 555 now", "in 2024 and 2024"] * 20, vocab_size=30, name="test")
    (ids,) = tokenizer.encode(["555 2024"])
    pieces = [tokenizer.piece(token).strip("\u2581") for token in ids]
    assert [piece for piece in pieces if piece] == list("5552024")


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
    with pytest.raises(
        DataError, match=r"^test\.en: no text to learn a vocabulary from; give lines with more than spaces$"
    ):
        train_tokenizer(text, vocab_size=60, name="test.en")


def test_targets_are_learnt_as_they_are() -> None:
    """NFKC made "!" of "！", and three points of "…", in all that a model could ever write."""
    lines = ["嗨！", "等一下…", "№ 7 ™", "１２", "cafe\u0301"]
    tokenizer = train_tokenizer(lines, vocab_size=27, name="test.zh")
    assert tokenizer.decode(tokenizer.encode(lines)) == [*lines[:4], "café"]


def test_the_sides_of_one_vocabulary_normalize_in_their_own_ways() -> None:
    tgt = train_tokenizer(["a!", "a！", "b"], vocab_size=10, name="test")
    src = normalized(tgt, "nfkc")
    assert src.has_pieces_of(tgt)
    assert src.encode(["a！"]) == tgt.encode(["a!"]) != tgt.encode(["a！"])
    assert normalized(src, "nfc").model == tgt.model


def test_rare_characters_are_written_in_bytes() -> None:
    """A few lines in another script made a corpus untrainable: each character needs a piece."""
    lines = [f"{word} {number}" for number in range(300) for word in ("the cat", "a dog", "no hat")]
    lines += ["".join(chr(0x4E00 + 50 * i + j) for j in range(50)) for i in range(60)]
    counts = count_characters(lines, "nfc")
    coverage = Coverage.of(counts, 600)
    assert coverage.byte_fallback
    assert len(coverage.rare) == len(counts) - (600 - 4 - 256) // 2
    assert max(counts[character] for character in coverage.rare) == 1
    tokenizer = train_tokenizer(lines, vocab_size=600, name="test", coverage=coverage)
    ids = tokenizer.encode(lines)
    assert tokenizer.decode(ids) == lines
    assert not tokenizer.is_lacking[list(itertools.chain.from_iterable(ids[:900]))].any()
    assert tokenizer.is_lacking[ids[-1]].any()


def test_where_all_characters_fit_all_get_pieces() -> None:
    counts = Counter("the quick brown fox" * 3)
    assert Coverage.of(counts, 30) == Coverage()
    assert Coverage.of(counts, LARGE) == Coverage(frozenset(), byte_fallback=True)
    assert Coverage.of(counts, 5) == Coverage()  # SentencePiece says how many are needed


@given(st.text(st.characters(exclude_categories=["Cs", "Cn", "Cc", "Zs", "Zl", "Zp", "Mn", "Mc", "Me"]), min_size=1))
def test_with_bytes_any_text_comes_back(text: str) -> None:
    ids = WITH_BYTES.encode([text])
    assert WITH_BYTES.unk_id not in ids[0]
    assert WITH_BYTES.decode(ids) == [unicodedata.normalize("NFC", text).replace("\u2581", " ").strip()]


WITH_BYTES = train_tokenizer(TEXT, vocab_size=320, name="test", coverage=Coverage(byte_fallback=True))


def test_long_lines_are_learnt_from() -> None:
    """SentencePiece leaves out what has more than 4,192 bytes, and has an error of its own if that is all."""
    line = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}" for n in range(2000))
    tokenizer = train_tokenizer([line], vocab_size=60, name="test")
    assert tokenizer.decode(tokenizer.encode([line])) == [line]


NEW = ["το γατάκι", "το σκυλί", "ένα καπέλο"] * 3


def test_more_pieces_for_another_text_change_nothing_for_the_first() -> None:
    old = train_tokenizer(TEXT, vocab_size=60, name="test")
    new = extended(old, NEW, 30, name="test.el")
    assert len(new) == 90
    assert [new.piece(token) for token in range(60)] == [old.piece(token) for token in range(60)]
    assert new.encode(TEXT) == old.encode(TEXT)
    assert old.unk_id in old.encode(NEW)[0]
    assert new.decode(new.encode(NEW)) == NEW
    assert max(len(new.piece(token)) for token in range(60, 90)) > 1
    kept = with_pieces_of(normalized(old, "nfkc"), new)
    assert kept.has_pieces_of(new)
    assert kept.encode(["ﬁ"]) == new.encode(["fi"])


def test_of_too_few_pieces_the_frequent_characters_come_first() -> None:
    old = train_tokenizer(TEXT, vocab_size=60, name="test")
    new = extended(old, ["α" * 9 + " " + "β" * 5 + " γ"], 2, name="test.el")
    assert [new.piece(60), new.piece(61)] == ["α", "β"]


def test_pieces_for_what_is_known_are_refused() -> None:
    every = extended(train_tokenizer(TEXT, vocab_size=60, name="test"), NEW, 1000, name="test.el")
    with pytest.raises(DataError, match="leave out --extend-vocabulary"):
        extended(every, NEW, 5, name="test.el")


def test_a_tokenizer_of_any_text_stays_one() -> None:
    pieces = train_tokenizer(["the cat\n", "  a dog\n"] * 20, vocab_size=280, name="cats", verbatim=True)
    new = TextTokenizer(extended(pieces, NEW, 20, name="test.el"), "more")
    text = "  το γατάκι\n\n the cat"
    assert new.decode(new.encode(text)) == text
    assert len(new.encode(text)) < len(TextTokenizer(pieces, "cats").encode(text))
