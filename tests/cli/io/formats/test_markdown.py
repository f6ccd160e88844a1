"""Markdown: what is no text passes byte for byte, and markdown-it reads the same structure of any translation."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from heed.cli.io.formats.markdown import Markdown

Fill = Callable[..., bytes]
TEXT = """\
---
title: stays
---
The *red* car
=============

I like `ls -l` and [the **big** book](http://x.y/z "Title"), see <http://a.b>.
The weather is nice today\\
and so on. ![A dog](dog.png)

> - one dog, which
>   barks
> - [ ] two cats[^1]

| Name | Color |
|:-----|-------|
| Dog \\| Cat | `a\\|b` red |

```sh
heed translate   # not this
```

<div align="center"><p>In a block</p></div>

[ref]: http://x.y
"""
PARTS = st.sampled_from(
    ["# ", "> ", "- ", "1. ", "    ", "\n", "\n\n", "word", "two words", "*a*", "**b**", "_", "*", "`", "`c`", "[x](y)",
     "![i](j)", "[", "](", "<b>", "</b>", "\\*", "&amp;", "  \n", "\\\n", "| a | b |\n|---|---|\n", "~~s~~", "---\n",
     "===", "é", "```\n", "<!-- c -->", "\t", "<http://a.b>", "[r]", "\r\n"]
)  # fmt: skip
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def structure(data: bytes) -> list[object]:
    """The blocks, and what is within them besides words."""
    return [
        (token.type, sorted(child.type for child in token.children or [] if child.type not in ("text", "softbreak")))
        for token in PARSER.parse(data.decode())
    ]


@settings(deadline=None)
@given(st.lists(PARTS, max_size=20).map("".join) | st.text(max_size=20))
def test_what_is_not_translated_passes_byte_for_byte(fill: Fill, text: str) -> None:
    assert fill(Markdown(), text.encode("utf-8", "replace"), lambda words: words) == text.encode("utf-8", "replace")


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "word",
                "1. x",
                "*a*",
                "**b** c",
                "`c`",
                "[x](y)",
                "> q\n>  r",
                "- l\n- m\n  n",
                "# h",
                "| a | b |\n|---|---|\n| c | d |",
                "- x",
                "+ y",
                "e &amp; f",
                "g  \nh",
            ]
        )
    ).map("\n\n".join),
    st.sampled_from(["1. ", "- ", "*", "# ", "_x", "> ", "`", "[", "<b", "x", "| y", "\\"]),
)
def test_the_structure_is_the_same_in_any_translation(fill: Fill, text: str, word: str) -> None:
    found = fill(Markdown(), text.encode(), lambda words: f"{word}{words} {word}")
    assert structure(found) == structure(text.encode())


def test_the_text_is_translated_and_nothing_else(fill: Fill) -> None:
    asked = list[str]()

    def translate(text: str) -> str:
        asked.append(text)
        return text.replace("e", "E")

    found = fill(Markdown(), TEXT.encode(), translate).decode()
    assert asked == [
        "The <g1>red</g1> car",
        "I like ⟦1⟧ and <g2>the <g3>big</g3> book</g2>, see ⟦4⟧. The weather is nice today", "and so on.", "A dog",
        "one dog, which barks", "two cats⟦1⟧", "Name", "Color", "Dog | Cat", "⟦1⟧ red", "In a block",
    ]  # fmt: skip
    assert '[thE **big** book](http://x.y/z "Title"), sEE <http://a.b>.' in found
    assert "wEathEr is nicE today\\\nand so on. ![A dog](dog.png)\n" in found
    assert "> - onE dog, which\n>   barks\n> - [ ] two cats[^1]\n" in found
    assert "| Dog \\| Cat | `a\\|b` rEd |" in found
    assert found[found.index("```sh") : found.index("<div")] == TEXT[TEXT.index("```sh") : TEXT.index("<div")]
    assert '<div align="center"><p>In a block</p></div>' in found


def test_code_is_not_wrapped(fill: Fill) -> None:
    """A line's end within it would come with the white space of the next line, which some parsers show."""
    text = "- I know that `git   commit` is\n      good, and so is `a\tb\n      c` for you\n"
    found = fill(Markdown(), text.encode(), str.upper)
    assert b"`git   commit`" in found
    assert b"`a\tb c`" in found


def test_a_block_that_the_translation_does_not_fit_stays(fill: Fill) -> None:
    grammar = Markdown()
    assert fill(grammar, b"a *b* c\n", lambda _: "x") == b"a *b* c\n"
    assert grammar.warnings() == ["1 blocks stay in the source language: their mark-up did not fit the translation"]


@pytest.mark.parametrize("translation", ["1. Januar", "- ja", "# nein", "a * b * c", "<b>", "2 < 3 > 1", "a_b_c"])
def test_signs_of_a_translation_that_would_be_mark_up_are_escaped(fill: Fill, translation: str) -> None:
    found = fill(Markdown(), b"some words\n", lambda _: translation)
    (inline,) = (token for token in PARSER.parse(found.decode()) if token.type == "inline")
    assert PARSER.parse(found.decode())[0].type == "paragraph_open"
    assert inline.children
    assert "".join(child.content for child in inline.children) == translation
