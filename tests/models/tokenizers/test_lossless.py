import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from heed.models.errors import DataError, ModelError
from heed.models.tokenizers.files import JOINT
from heed.models.tokenizers.lossless import SPACE, TextTokenizer
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.vocabulary import LONGEST, train_tokenizer

LINES = [
    "the cat sat on the mat",
    "    return x  # 12345",
    "\u201eG\u00e4nsef\u00fc\u00dfchen\u201c\r",
    "\u65e5\u672c \U0001f600 e\u0301 \ufb01",
    "</s> <0x0A> \t\t",
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(train_tokenizer(LINES, vocab_size=330, name="test.txt", verbatim=True), "test.txt")


@given(ANY_TEXT)
@example(f"{SPACE}{SPACE} {SPACE}a {SPACE}")
@example("\x00\x00a\x00")
@example("\r\n\r\r\n\n")
@example("\u0301 \u0301\u0301")
@example("<pad><unk><s></s><0x0A>\ufffd\ufeff\u2028\x85")
@example("  two  spaces   three \t ")
@example("\ufb01 \u00bd \u212b \uac00 A\u030a")  # what normalization would change
def test_any_text_comes_back(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(ids) == text.encode()
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pieces.unk_id}
    assert not special & set(ids)


@given(ANY_TEXT)
def test_each_character_comes_back_alone(tokenizer: TextTokenizer, text: str) -> None:
    assert [tokenizer.decode(tokenizer.encode(character)) for character in text] == list(text)


@given(st.lists(ANY_TEXT, min_size=1))
def test_a_text_is_its_lines_and_newlines_between(tokenizer: TextTokenizer, texts: list[str]) -> None:
    (newline,) = tokenizer.encode("\n")
    first, *rest = [tokenizer.encode(line) for line in "\n".join(texts).split("\n")]
    expected = first + [token for line in rest for token in (newline, *line)]
    assert tokenizer.encode("\n".join(texts)) == expected


def test_half_a_character_is_refused(tokenizer: TextTokenizer) -> None:
    for text in ("\ud800", "a\udfffb", "\udc80"):
        with pytest.raises(DataError, match="half of a character"):
            tokenizer.encode(text)


def test_special_tokens_are_no_text(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("cat")
    wrapped = [tokenizer.bos_id, *ids, tokenizer.eos_id, tokenizer.pad_id, tokenizer.pieces.unk_id]
    assert tokenizer.decode(wrapped) == "cat"
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 2, 3)


def test_it_is_read_from_a_directory(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"^{tmp_path / JOINT}: No such file"):
        TextTokenizer.load(tmp_path)
    (tmp_path / JOINT).write_bytes(tokenizer.pieces.model)
    assert TextTokenizer.load(tmp_path).encode("the mat") == tokenizer.encode("the mat")


@pytest.mark.parametrize(
    "flags",
    [
        {"byte_fallback": False, "character_coverage": 1.0},
        {"normalization_rule_name": "nfkc"},
        {"normalization_rule_name": "nmt_nfkc"},
        {"normalization_rule_name": "nfkc_cf"},
        {"remove_extra_whitespaces": True},
        {"add_dummy_prefix": True},
    ],
    ids=str,
)
def test_a_model_that_changes_texts_is_refused(flags: dict[str, Any]) -> None:
    model, verbatim = io.BytesIO(), {
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
    }  # fmt: skip
    options: dict[str, Any] = {
        "vocab_size": 320,
        "model_type": "bpe",
        "minloglevel": 2,
        "hard_vocab_limit": False,
        "pad_id": 3,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 9), model_writer=model, **options | verbatim | flags
    )
    with pytest.raises(ModelError) as caught:
        TextTokenizer(Tokenizer(model.getvalue(), "their.model"), "their.model")
    assert str(caught.value).startswith("their.model: does not preserve every text; train it with --byte_fallback, ")


def test_a_model_that_follows_the_advice_is_taken() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 9),
        model_writer=model,
        vocab_size=320,
        model_type="unigram",
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=3,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
    )
    theirs = TextTokenizer(Tokenizer(model.getvalue(), "their.model"), "their.model")
    text = "\n".join(LINES)
    assert theirs.decode(theirs.encode(text)) == text


def test_a_line_of_any_length_is_learnt_from() -> None:
    """SentencePiece leaves out what is longer than its limit, without a word."""
    for character in ("x", "\U0001f600"):
        line = f"{character * LONGEST}{'y' * LONGEST}z"
        pieces = train_tokenizer([line], vocab_size=264, name="test.txt", verbatim=True)
        found = {pieces.piece(token) for token in range(len(pieces))}
        assert {character, "y"} <= found


@pytest.mark.parametrize(
    "lines", [["12345"], ["\u65e5\u672c" * 30_000 + " x"]], ids=["none", "among 60,000 characters"]
)
def test_a_text_with_hardly_a_space_gives_a_tokenizer_of_any_text(lines: list[str]) -> None:
    """A space is a piece like others, and rare ones are left to their bytes."""
    tokenizer = TextTokenizer(train_tokenizer(lines, vocab_size=267, name="test.txt", verbatim=True), "test.txt")
    assert tokenizer.decode(tokenizer.encode(f"a {SPACE} b ")) == f"a {SPACE} b "
