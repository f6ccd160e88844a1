import dataclasses

import pytest

from heed.models.tasks.translation.characters import UnknownCharacters
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.vocabulary import Coverage, train_tokenizer

BYTES = dataclasses.replace(Coverage(), byte_fallback=True)


@pytest.fixture(scope="module")
def latin() -> Tokenizer:
    return train_tokenizer(["the red car is old", "a b c d e f"] * 9, vocab_size=300, name="latin", coverage=BYTES)


@pytest.fixture(scope="module")
def chinese() -> Tokenizer:
    lines = ["\u6211\u4eec\u5b66\u4e60", "\u4f60\u4eec\u5b66\u4e60"] * 9
    return train_tokenizer(lines, vocab_size=275, name="chinese", coverage=BYTES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the red car", []),
        ("the \u2603 car", ["\u2603"]),  # a symbol
        ("the \U0001f600\u2603.", ["\U0001f600\u2603."]),  # two that touch; the full stop has no piece either
        ("a \u4f60\u597d d", ["\u4f60\u597d"]),  # a script that the vocabulary lacks
        ("a caf\u00e9", ["\u00e9"]),  # a letter that few words have
    ],
)
def test_characters_in_bytes_are_not_known(latin: Tokenizer, text: str, found: list[str]) -> None:
    unknown = UnknownCharacters(latin)
    for _ in range(2):  # what is remembered changes nothing
        assert [text[slice(*span)] for span in unknown.find(text)] == found


def test_rare_letters_of_a_script_without_capitals_are_known(chinese: Tokenizer) -> None:
    assert chinese.is_lacking[chinese.encode(["\u8c22"])[0]].any()
    unknown = UnknownCharacters(chinese)
    assert unknown.find("\u6211\u4eec\u8c22") == []
    assert unknown.find("\u6211\u4eec\u2603") == [(2, 3)]
