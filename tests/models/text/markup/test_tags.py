import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.text.markup.tags import is_inline, parts_sentences, scan


def found(line: str, inside: str = "") -> list[str]:
    return [line[slice(*span)] for span in scan(line, inside)[0]]


def through(text: str) -> list[list[str]]:
    """What is mark-up in each line of a text."""
    inside, lines = "", []
    for line in text.split("\n"):
        lines.append(found(line, inside))
        inside = scan(line, inside)[1]
    return lines


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a <b>c</b><br/> <a href='x > y'>", ["<b>", "</b>", "<br/>", "<a href='x > y'>"]),
        ('<img alt="a > b" src=x>', ['<img alt="a > b" src=x>']),
        ("3 < 4 and 5 > 4, a <- b", []),
        ("<!-- <b> --> x", ["<!-- <b> -->"]),
        ("<!DOCTYPE html>", ["<!DOCTYPE html>"]),
        ("<!DOCTYPE x [ <!ENTITY a 'b'> ]>", ["<!DOCTYPE x [ <!ENTITY a 'b'> ]>"]),
        ('<?xml version="1.0"?>', ['<?xml version="1.0"?>']),
        ("<![CDATA[ a <b> ]]> c", ["<![CDATA[ a <b> ]]>"]),
        ("<script>if (a<b) c();</script>d", ["<script>if (a<b) c();</script>"]),
        ("<kbd>Ctrl</kbd>+<kbd>C</kbd>", ["<kbd>Ctrl</kbd>", "<kbd>C</kbd>"]),
        ("%<PRIu64> %<name>s", []),
    ],
)
def test_mark_up_is_found(line: str, expected: list[str]) -> None:
    assert found(line) == expected
    assert scan(line)[1] == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<P\n>Go.</P\n>", [["<P"], [">", "</P"], [">"]]),
        ("a <!-- b\nc\nd --> e", [["<!-- b"], ["c"], ["d -->"]]),
        ('<a href="x"\n  title="y\n z">e</a>', [['<a href="x"'], ['  title="y'], [' z">', "</a>"]]),
        ("<a href=\n'x'>e", [["<a href="], ["'x'>"]]),
        ("<style>\na {}\n</STYLE>b", [["<style>"], ["a {}"], ["</STYLE>"]]),
        ("<![CDATA[a\nb]]>c", [["<![CDATA[a"], ["b]]>"]]),
        ("a <b\nc and d", [["<b"], []]),  # it was no tag
    ],
)
def test_what_goes_on_in_the_next_line_is_found(text: str, expected: list[list[str]]) -> None:
    assert through(text) == expected


PARTS = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<p class='x'>",
        "<br/>",
        "<!-- a b -->",
        "<?php echo 1 ?>",
        "<![CDATA[ x ]]>",
        '<a href="a b">',
        "text",
    ]
)


@given(st.lists(PARTS, max_size=8), st.lists(st.integers(0, 99), max_size=3))
def test_wherever_lines_are_cut_the_same_is_mark_up(parts: list[str], places: list[int]) -> None:
    """At white space within mark-up; a line end is white space there."""
    whole = "".join(f" {part} " for part in parts)
    spaces = [i for i, character in enumerate(whole) if character == " "]
    cut = set[int]() if not spaces else {spaces[place % len(spaces)] for place in places}
    lines = "".join("\n" if i in cut else character for i, character in enumerate(whole))
    parts_of_lines = [part for of_line in through(lines) for part in of_line]
    assert "".join("".join(parts_of_lines).split()) == "".join("".join(found(whole)).split())


@given(st.text("<>!-ab/=\"' ?[]", max_size=30), st.text("<>!-ab/=\"' ?[]", max_size=30))
def test_any_line_can_be_scanned(line: str, after: str) -> None:
    _, inside = scan(line)
    spans, _ = scan(after, inside)
    assert spans == sorted(spans)
    assert all(start < end for start, end in spans) or "" in (line, after)


def test_blocks_part_sentences_and_others_do_not() -> None:
    assert [parts_sentences(tag) for tag in ("<li>", "</TD>", "<br/>", "<P", "<script>x</script>")] == [True] * 5
    assert [parts_sentences(tag) for tag in ("<b>", "</a>", "<kbd>C</kbd>", "<!-- x -->")] == [False] * 4
    assert is_inline("<em class='x > y'>")
