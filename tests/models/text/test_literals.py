import pytest

from heed.models.text.literals import Kind, find_literals


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it costs 1,250.50 euros.", [(Kind.NUMBER, "1,250.50")]),
        ("at 14:35, on 2024-01-31", [(Kind.NUMBER, "14:35"), (Kind.NUMBER, "2024-01-31")]),
        ("the 3rd of 10km in the 90s", [(Kind.NUMBER, "3"), (Kind.NUMBER, "10"), (Kind.NUMBER, "90")]),
        ("see https://example.com/a?b=1.", [(Kind.ADDRESS, "https://example.com/a?b=1")]),
        ("(www.example.com)", [(Kind.ADDRESS, "www.example.com")]),
        ("mail some.one@example.co.uk!", [(Kind.ADDRESS, "some.one@example.co.uk")]),
        ("open ~/notes.txt, /etc/hosts", [(Kind.CODE, "~/notes.txt"), (Kind.CODE, "/etc/hosts")]),
        ("run report_final.pdf --force", [(Kind.CODE, "report_final.pdf"), (Kind.CODE, "--force")]),
        (
            "in JavaScript, XK-4821 and iPhone",
            [(Kind.CODE, "JavaScript"), (Kind.CODE, "XK-4821"), (Kind.CODE, "iPhone")],
        ),
        ("e.g. at 5 p.m. in the U.S.", [(Kind.NUMBER, "5"), (Kind.NAME, "U.S")]),
        ("Jean-Luc and Tom's dog", [(Kind.NAME, "Jean-Luc"), (Kind.NAME, "Tom")]),
        ("O'Brien\u2019s and/or don't", [(Kind.NAME, "O'Brien")]),
        ("nothing of it", []),
    ],
)
def test_literals_are_found_without_the_punctuation_around_them(text: str, expected: list[tuple[Kind, str]]) -> None:
    found = list(find_literals(text))
    assert [(literal.kind, literal.text) for literal in found] == expected
    assert [text[literal.start : literal.stop] for literal in found] == [literal.text for literal in found]
