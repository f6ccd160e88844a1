import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import ModelError
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.vocabulary import normalized


def test_text_comes_back(digits: Tokenizer) -> None:
    lines = ["3 1 4 1 5", "", "9"]
    assert digits.decode(digits.encode(lines)) == lines


@given(st.lists(st.text("0123456789 ")))
def test_any_digits_come_back_but_for_white_space(digits: Tokenizer, lines: list[str]) -> None:
    assert digits.decode(digits.encode(lines)) == [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize("line", ["", " ", "\t \u3000"])
def test_white_space_has_no_tokens(digits: Tokenizer, line: str) -> None:
    assert digits.encode([line]) == [[]]


def test_a_wide_space_is_a_space_where_compatible_characters_are_one(digits: Tokenizer) -> None:
    """NFC leaves U+3000 as it is, because a target may need it; NFKC does not."""
    assert normalized(digits, "nfkc").encode(["\t \u3000"]) == [[]]
    assert normalized(digits, "nfc").encode(["\t \u2028"]) == [[]]
    assert digits.unk_id in normalized(digits, "nfc").encode(["\u3000"])[0]


def test_a_file_gives_the_same_tokenizer(digits: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "digits.model"
    path.write_bytes(digits.model)
    loaded = Tokenizer.load(path)
    assert loaded.model == digits.model
    assert loaded.encode(["1 2"]) == digits.encode(["1 2"])
    assert len(loaded) == len(digits)


@pytest.mark.parametrize("content", [b"", b"<pad>\t0\n<unk>\t0\n", bytes(range(256))], ids=["empty", "text", "bytes"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.vocab"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Tokenizer.load(path)
    assert str(caught.value) == f"{path}: not a SentencePiece model; give the .model file of spm_train"


def test_a_model_cut_short_is_refused(digits: Tokenizer) -> None:
    with pytest.raises(ModelError, match=r"^cut\.model: "):
        Tokenizer(digits.model[: len(digits.model) // 2], "cut.model")


@pytest.mark.parametrize(
    ("special", "complaint"),
    [
        ({}, "has no pad piece; train it again with --pad_id=N"),  # SentencePiece's own default
        ({"bos_id": -1, "eos_id": -1, "pad_id": 1, "unk_id": 0}, "has no bos and no eos piece; train it again with"),
    ],
)
def test_a_model_without_a_special_piece_is_refused(special: dict[str, int], complaint: str) -> None:
    model = io.BytesIO()
    options: dict[str, Any] = {"vocab_size": 9, "model_type": "bpe", "minloglevel": 2, **special}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["1 2 3", "3 2 1"]), model_writer=model, **options)
    with pytest.raises(ModelError) as caught:
        Tokenizer(model.getvalue(), "their.model")
    assert str(caught.value).startswith(f"their.model: {complaint}")
