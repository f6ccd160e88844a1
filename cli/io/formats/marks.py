"""Marks: what stands in a text for its mark-up and for what is not translated, as `<g>` and `<x/>` do in XLIFF."""

import enum
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from heed.models.patterns import regex

# What a translation must keep besides tags: it stands for a word.
KEPT = r"⟦\d+⟧"
MARK = regex(r"</?g\d+>|<x\d+/>|" + KEPT)


class PieceKind(enum.Enum):
    """What a piece of a text is."""

    TEXT = enum.auto()
    OPEN = enum.auto()  # mark-up that encloses text, up to its `CLOSE`
    CLOSE = enum.auto()
    SINGLE = enum.auto()  # mark-up at one place
    WORD = enum.auto()  # what is not translated and stands for a word: code, a placeholder


class Piece(NamedTuple):
    """A part of a text."""

    kind: PieceKind
    source: str  # as the file has it
    text: str = ""  # of a `TEXT`: what the reader sees


class MarkedText:
    """A text with marks for its mark-up.

    Args:
        pieces: The text; joined, their sources are what the file has.

    Mark-up and white space around the text are not in `text`: they stay where they are.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._first, self._last = 0, len(pieces)
        self._partner = _partners(pieces)
        while self._peel():
            pass
        self._sources = dict[str, str]()
        self.text = "".join(self._named())
        self.has_marks = bool(self._sources)
        self.translatable = any(piece.kind is PieceKind.TEXT and re.search(r"[^\W\d_]", piece.text) for piece in pieces)

    def keeps(self, translation: str) -> bool:
        """Whether a translation has each mark once, and pairs of them as pairs."""
        marks = [mark for mark in MARK.findall(translation) if mark in self._sources]
        return sorted(marks) == sorted(self._sources) and _nested(marks)

    def restored(self, translation: str, escape: Callable[[str], str] = str) -> str:
        """A translation of `text` with the mark-up in the places of its marks, and with what stood around the text.

        Args:
            translation: With the marks that it has kept.
            escape: Writes text as the file does.
        """
        marks = [match for match in MARK.finditer(translation) if match[0] in self._sources]
        ends = [0, *(end for match in marks for end in match.span()), len(translation)]
        texts = [escape(translation[start:end]) for start, end in pairwise(ends)][::2]
        sources = [*(self._sources[match[0]] for match in marks), ""]
        inner = "".join(part for pair in zip(texts, sources, strict=True) for part in pair)
        return self._joined(0, self._first) + inner + self._joined(self._last, len(self._pieces))

    @property
    def marks(self) -> list[str]:
        """The mark-up and the code of the text, as the file has it."""
        return [piece.source for piece in self._pieces if piece.kind is not PieceKind.TEXT]

    @property
    def source(self) -> str:
        """The text as the file has it."""
        return self._joined(0, len(self._pieces))

    def _joined(self, start: int, end: int) -> str:
        return "".join(piece.source for piece in self._pieces[start:end])

    def _peel(self) -> bool:
        """Leave out a piece at an end, or a pair that encloses all."""
        if self._first >= self._last:
            return False
        first, last = self._pieces[self._first], self._pieces[self._last - 1]
        partner = self._partner.get(self._first)
        if _is_outside(first) or (first.kind in (PieceKind.OPEN, PieceKind.CLOSE) and partner is None):
            self._first += 1
        elif _is_outside(last) or (
            last.kind in (PieceKind.OPEN, PieceKind.CLOSE) and self._last - 1 not in self._partner
        ):
            self._last -= 1
        elif first.kind is PieceKind.OPEN and partner == self._last - 1:
            self._first, self._last = self._first + 1, self._last - 1
        else:
            return False
        return True

    def _named(self) -> Iterator[str]:
        literal = "".join(piece.text for piece in self._pieces)
        numbers = (str(n) for n in itertools.count(1) if not re.search(rf"[gx⟦]{n}[/>⟧]", literal))
        names = dict[int, str]()
        for place in range(self._first, self._last):
            piece = self._pieces[place]
            if piece.kind is PieceKind.TEXT:
                yield piece.text
                continue
            partner = self._partner.get(place)
            if piece.kind is PieceKind.CLOSE and partner is not None:
                mark = f"</g{names[partner]}>"
            else:
                names[place] = next(numbers)
                shape = "⟦{}⟧" if piece.kind is PieceKind.WORD else "<g{}>" if partner is not None else "<x{}/>"
                mark = shape.format(names[place])
            self._sources[mark] = piece.source
            yield mark


def _is_outside(piece: Piece) -> bool:
    return piece.kind is PieceKind.SINGLE or (piece.kind is PieceKind.TEXT and not piece.text.strip())


def _partners(pieces: Sequence[Piece]) -> dict[int, int]:
    """The places of `OPEN` and `CLOSE` pieces that belong together, each by the other's; others have none."""
    found, open_places = dict[int, int](), list[int]()
    for place, piece in enumerate(pieces):
        if piece.kind is PieceKind.OPEN:
            open_places.append(place)
        elif piece.kind is PieceKind.CLOSE and open_places:
            found[place] = open_places.pop()
            found[found[place]] = place
    return found


def _nested(marks: Sequence[str]) -> bool:
    """Whether pairs of marks enclose each other or are apart."""
    open_marks = list[str]()
    for mark in marks:
        if mark.startswith("<g"):
            open_marks.append(mark)
        elif mark.startswith("</") and (not open_marks or open_marks.pop() != mark.replace("/", "")):
            return False
    return not open_marks
