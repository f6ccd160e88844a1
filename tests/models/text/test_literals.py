import re
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed.models.text import literals
from heed.models.text.literals import LiteralKind, find_literals

WORDS = st.sampled_from(["he", "Tom", "a", "I", "über", "Öl", "×a", "it's", "x.y", "3", "iPhone", "U", "_", "e.g"])
TEMPERATURE = [(LiteralKind.NUMBER, "10.4"), (LiteralKind.CODE, "°F")]
NUMBERS_50_AND_2_3 = [(LiteralKind.NUMBER, "50"), (LiteralKind.NUMBER, "2-3")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it costs 1,250.50 euros.", [(LiteralKind.NUMBER, "1,250.50")]),
        ("at 14:35, on 2024-01-31", [(LiteralKind.NUMBER, "14:35"), (LiteralKind.NUMBER, "2024-01-31")]),
        (
            "the 3rd of 10km in the 90s",
            [(LiteralKind.NUMBER, "3"), (LiteralKind.NUMBER, "10"), (LiteralKind.NUMBER, "90")],
        ),
        ("see https://example.com/a?b=1.", [(LiteralKind.ADDRESS, "https://example.com/a?b=1")]),
        ("(www.example.com)", [(LiteralKind.ADDRESS, "www.example.com")]),
        ("mail some.one@example.co.uk!", [(LiteralKind.ADDRESS, "some.one@example.co.uk")]),
        ("open ~/notes.txt, /etc/hosts", [(LiteralKind.CODE, "~/notes.txt"), (LiteralKind.CODE, "/etc/hosts")]),
        ("run report_final.pdf --force", [(LiteralKind.CODE, "report_final.pdf"), (LiteralKind.CODE, "--force")]),
        (
            "in JavaScript, XK-4821 and iPhone",
            [(LiteralKind.CODE, "JavaScript"), (LiteralKind.CODE, "XK-4821"), (LiteralKind.CODE, "iPhone")],
        ),
        ("e.g. at 5 p.m. in the U.S.", [(LiteralKind.NUMBER, "5"), (LiteralKind.NAME, "U.S")]),
        ("Jean-Luc and Tom's dog", [(LiteralKind.NAME, "Jean-Luc"), (LiteralKind.NAME, "Tom")]),
        ("O'Brien\u2019s and/or don't", [(LiteralKind.NAME, "O'Brien")]),
        (
            "a 16-year-old in the mid-1990s, a 3-to-1 vote",
            [(LiteralKind.NUMBER, number) for number in ("16", "1990", "3", "1")],
        ),
        ("A4-Papier der COVID-19-Pandemie", [(LiteralKind.CODE, "A4"), (LiteralKind.CODE, "COVID-19")]),
        ("a 50-Euro-Schein from 2-3 US-based firms", [*NUMBERS_50_AND_2_3, (LiteralKind.NAME, "US")]),
        ("well-known T-shirts of holiday-2019.pdf", [(LiteralKind.CODE, "holiday-2019.pdf")]),
        ("at -12 °C, that is 10.4°F", [*[(LiteralKind.NUMBER, "12"), (LiteralKind.CODE, "°C")], *TEMPERATURE]),
        ("nothing of it", []),
    ],
)
def test_literals_are_found_without_the_punctuation_around_them(
    text: str, expected: list[tuple[LiteralKind, str]]
) -> None:
    found = list(find_literals(text))
    assert [(literal.kind, literal.text) for literal in found] == expected
    assert [text[literal.start : literal.stop] for literal in found] == [literal.text for literal in found]


@given(
    st.lists(st.tuples(WORDS, st.sampled_from([" ", ", ", ",", ".", "-", "", "!? ", "\n"]))).map(
        lambda parts: "".join(map("".join, parts))
    )
)
@example("He is here.")
@example("He is here.\n")
@example("I am.")
def test_plain_sentences_have_the_literals_that_looking_at_each_word_finds(text: str) -> None:
    """What is seen at once is what would be found in a longer time."""
    with patch.object(literals, "PLAIN", re.compile("(?!)")):
        slowly = list(find_literals(text))
    assert list(find_literals(text)) == slowly
