"""Marks for mark-up: whatever a text is made of, it comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.io.formats.marks import MARK, MarkedText, Piece, PieceKind

TEXTS = st.sampled_from([" ", "a", "two words", "1", "<g1>", "⟦2⟧", "x3"]).map(
    lambda text: Piece(PieceKind.TEXT, text, text)
)
CODES = st.sampled_from([kind for kind in PieceKind if kind is not PieceKind.TEXT]).map(
    lambda kind: Piece(kind, f"[{kind.name}]")
)


@settings(deadline=None)
@given(st.lists(TEXTS | CODES, max_size=8))
def test_a_text_with_all_its_marks_is_the_source(pieces: list[Piece]) -> None:
    marked = MarkedText(pieces)
    assert marked.keeps(marked.text)
    assert marked.restored(marked.text) == marked.source == "".join(piece.source for piece in pieces)


@settings(deadline=None)
@given(st.lists(TEXTS | CODES, max_size=8), st.data())
def test_a_mark_that_is_missing_or_there_twice_is_noticed(pieces: list[Piece], data: st.DataObject) -> None:
    marked = MarkedText(pieces)
    own = [match for match in MARK.finditer(marked.text) if match[0] not in {piece.text for piece in pieces}]
    if own:
        lost = data.draw(st.sampled_from(own))
        without = marked.text[: lost.start()] + marked.text[lost.end() :]
        assert not marked.keeps(without)
        assert not marked.keeps(marked.text + lost[0])


def test_what_encloses_the_text_is_no_part_of_it() -> None:
    bold = [
        Piece(PieceKind.OPEN, "<b>"),
        Piece(PieceKind.TEXT, " a ", " a "),
        Piece(PieceKind.CLOSE, "</b>"),
        Piece(PieceKind.SINGLE, "<img>"),
    ]
    marked = MarkedText(bold)
    assert marked.text == " a "
    assert not marked.has_marks
    assert marked.restored(" b ") == "<b> b </b><img>"


@pytest.mark.parametrize(("text", "translatable"), [("a", True), ("1 2", False), ("…!", False), ("你好", True)])
def test_a_text_without_letters_is_not_translated(text: str, translatable: bool) -> None:
    assert MarkedText([Piece(PieceKind.WORD, "code"), Piece(PieceKind.TEXT, text, text)]).translatable is translatable
