"""Sentences in capitals."""

import pytest

from heed.models.text.capitals import in_small_letters, is_in_capitals

NAMES = {
    "Thabo": 2,
    "thabo": 3,
    "umbrella": 2,
    "Umbrella": 4,
    "Monday": 1,
    "monday": 2,
}  # tokens of words with more than one


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("THE DOOR IS OPEN.", True),
        ("THE SHOP OPENS IN 5 MINUTES!", True),
        ("THE DOOR IS open.", False),
        ("NATO", False),  # an abbreviation
        ("A B C", False),
        ("SEE README.TXT NOW", False),  # whose case matters
        ("TAKE AX410 AWAY", False),
        ("", False),
    ],
)
def test_whether_a_sentence_is_in_capitals(text: str, is_so: bool) -> None:
    assert is_in_capitals(text) == is_so


def test_names_keep_a_capital_and_words_do_not() -> None:
    text, names, rare = in_small_letters("THABO\u2019S UMBRELLA: CALL THABO MONDAY!", lambda word: NAMES.get(word, 1))
    assert text == "Thabo\u2019s umbrella: call Thabo Monday!"
    assert [text[slice(*name)] for name in names] == ["Thabo", "Thabo"]
    assert [text[slice(*word)] for word in rare] == ["Thabo", "umbrella", "Thabo"]
