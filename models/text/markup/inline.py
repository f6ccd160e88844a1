"""Tags and placeholders within a sentence: taken out before it is translated, and put into its translation."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from heed.models.arrays import BoolArray, FloatArray
from heed.models.text.markup.tags import is_tag
from heed.models.text.words import Span, overlap, word_spans

# Symbols that enclose words, and those at the end of these.
PARTNERS = dict(zip("[{<「『【⟦*_~`", "]}>」』】⟧*_~`", strict=True))
# Names, which translations keep, stand for placeholders: the first ones that are not in the line.
NAMES = ("Tom", "Boston", "Maria", "Peter", "London", "David", "Berlin", "Anna", "Paris", "Martin", "Robert", "Chicago")
CITIES = ("Boston", "London", "Berlin", "Paris", "Chicago")
PEOPLE = tuple(name for name in NAMES if name not in CITIES)


@dataclasses.dataclass(eq=False, repr=False)
class Mark:
    """A pair of tags around a span of text, or a single tag at a position."""

    opening: str
    closing: str  # empty for a single tag
    span: Span  # span of the text without mark-up
    after: bool  # whether it is attached to the word before it and not to the word after it
    inner: "list[Mark]" = dataclasses.field(default_factory=list)


class StrippedLine(NamedTuple):
    """A line without its mark-up, and with names in place of placeholders."""

    text: str
    marks: list[Mark]  # outermost marks
    names: dict[str, str]  # names and their placeholders
    escaped: bool = False  # whether the line writes &, < and > as entities

    def filled(self, text: str) -> str:
        """A part of a translation with the placeholders in the places of their names."""
        if self.escaped:
            text = _escaped(text)
        return re.sub("|".join(self.names), lambda match: self.names[match[0]], text) if self.names else text


def take_out(
    line: str,
    kept: Sequence[Span],
    turn: int = 0,
    *,
    names: Sequence[str] = NAMES,
    symbols: Collection[Span] = (),
    escaped: bool = False,
    raw: Sequence[Span] = (),
) -> StrippedLine | None:
    """Remove what is protected from a line; None if there are not enough names.

    Args:
        line: A line of text.
        kept: Spans to protect; see `find_kept`.
        turn: Number of possible names to skip.
        names: The possible names.
        symbols: What of it stands at a place, as a single tag does, and for no word.
        escaped: Whether the line writes &, < and > as entities, and its translation must, too.
        raw: What of the line is written already as the translation must have it.
    """
    free = [name for name in names if name not in line][turn:]
    text, taken, end = "", dict[str, str](), 0
    root = Mark("", "", (0, 0), False)
    open_marks = [root]
    for start, stop in kept:
        text, found, end = text + line[end:start], line[start:stop], stop
        if not is_tag(found) and (start, stop) not in symbols:
            if not free:
                return None
            name = free.pop(0)
            taken[name] = written(line, (start, stop), raw, escaped=escaped)
            text += _gap(text[-1:], name) + name + _gap(name, line[end : end + 1])
            continue
        closed = _opened(open_marks, found, is_symbol=(start, stop) in symbols)
        if closed:
            _lift(open_marks, closed)
            closed.closing, closed.span = found, (closed.span[0], len(text))
            open_marks.pop()
            continue
        after = bool(text[-1:].strip()) and not line[end : end + 1].strip()
        if escaped and (start, stop) in symbols:
            found = _escaped(found)
        mark = Mark(found, "", (len(text), len(text)), after)
        open_marks[-1].inner.append(mark)
        if _encloses(mark, is_symbol=(start, stop) in symbols):
            open_marks.append(mark)
    _lift(open_marks, root)
    return StrippedLine(text + line[end:], root.inner, taken, escaped)


def written(line: str, span: Span, raw: Sequence[Span], *, escaped: bool) -> str:
    """A span of a line, with entities for &, < and > if the translation must have them; what is raw stays."""
    if not escaped:
        return line[slice(*span)]
    inside = [each for each in raw if overlap(each, span)]
    places = [span[0], *(place for each in inside for place in each), span[1]]
    parts = [line[max(start, span[0]) : min(end, span[1])] for start, end in pairwise(places)]
    return "".join(part if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _encloses(mark: Mark, *, is_symbol: bool) -> bool:
    """Whether a mark may enclose what follows, up to its partner: an opening tag, and symbols such as [, {{ and *."""
    if is_symbol:
        return set(mark.opening.strip()) <= PARTNERS.keys()
    return not mark.opening.startswith(("</", "<!")) and not mark.opening.endswith("/>")


def _opened(open_marks: Sequence[Mark], found: str, *, is_symbol: bool) -> Mark | None:
    """The open mark that something closes; a symbol closes no tag within it."""
    if is_symbol:
        partner = "".join(PARTNERS.get(each, each) for each in open_marks[-1].opening.strip()[::-1])
        return open_marks[-1] if len(open_marks) > 1 and found.strip() == partner else None
    return next((mark for mark in open_marks[:0:-1] if found.startswith("</") and _closes(found, mark)), None)


def _closes(kept: str, mark: Mark) -> bool:
    return kept[2:-1].rstrip() == re.split(r"[\s>]", mark.opening[1:])[0]


def _gap(before: str, after: str) -> str:
    """A space between two texts that would otherwise form one word."""
    return " " if re.search(r"\w\Z", before) and re.match(r"\w", after) else ""


def _lift(open_marks: list[Mark], last: Mark) -> None:
    """Remove marks from the stack that are not closed within the current one; they become single tags."""
    while open_marks[-1] is not last:
        mark = open_marks.pop()
        open_marks[-1].inner += mark.inner
        mark.inner = []


def put_back(marked: StrippedLine, translation: str, shares: FloatArray | None) -> str:
    """Put the mark-up and the placeholders of the source into its translation.

    Each pair of tags encloses the contiguous words that best align with the words it enclosed. Each single tag goes to
    the position at which the words before it best align with those before it in the source. Tags keep their nesting.

    Args:
        marked: The source.
        translation: The translation of its text, with its names.
        shares: The alignment; see `heed.models.tasks.translation.aligner`. None: assume that both sides advance at the
            same pace.
    """
    src, tgt = word_spans(marked.text), word_spans(translation)
    shares = _same_pace(len(src), len(tgt)) if shares is None else shares
    words = _Words(
        src, tgt, _signs(marked.text, src), _signs(translation, tgt), shares, _edges(marked.text, translation)
    )
    whole = (0, len(translation))
    return _render(marked, translation, words.place(marked.marks, (0, len(tgt)), whole), whole)


def _signs(text: str, words: list[Span]) -> BoolArray:
    return np.array([not re.match(r"\w", text[start:end]) for start, end in words], dtype=bool)


def _edges(text: str, translation: str) -> dict[int, int]:
    """Places in the white space at both ends of a text, and those of its translation, which has the same."""
    before, after = len(text) - len(text.lstrip()), len(text) - len(text.rstrip())
    found = dict[int, int]()
    if before and translation[:before] == text[:before]:
        found |= {place: place for place in range(before + 1)}
    if after and translation[-after:] == text[-after:]:
        found |= {len(text) - place: len(translation) - place for place in range(after + 1)}
    return found


def _same_pace(n_src: int, n_tgt: int) -> FloatArray:
    """A diagonal alignment: each word comes from the source word at the same relative position."""
    shares = np.zeros((n_src, n_tgt), dtype=np.float32)
    if n_src:
        shares[np.arange(n_tgt) * n_src // max(n_tgt, 1), np.arange(n_tgt)] = 1
    return shares


def best_run(gains: FloatArray, first: BoolArray, last: BoolArray) -> tuple[float, Span] | None:
    """The contiguous run with the largest sum of gains, (N,), and that sum (Kadane's algorithm).

    Args:
        gains: -inf where no run may be.
        first: True where a run may begin, (N,).
        last: True where a run may end, (N,).
    """
    best, total, start = None, 0.0, None
    for i, (gain, begins, ends) in enumerate(zip(gains.tolist(), first.tolist(), last.tolist(), strict=True)):
        if begins and (start is None or total <= 0):
            total, start = 0.0, i
        if gain == -np.inf:
            start = None
        if start is None:
            continue
        total += gain
        if ends and (best is None or total >= best[0]):
            best = total, (start, i + 1)
    return best


@dataclasses.dataclass(eq=False, repr=False)
class _Words:
    """The words of source and translation, and their alignment."""

    src: list[Span]
    tgt: list[Span]
    src_signs: BoolArray  # True for punctuation
    tgt_signs: BoolArray
    shares: FloatArray
    edges: Mapping[int, int]  # places in the white space at the source's ends, and which they are in the translation

    def place(self, marks: list[Mark], room: Span, characters: Span) -> list[Mark]:
        """Marks with their spans in the translation, within a range of its words and their characters."""
        free = np.zeros(len(self.tgt), dtype=bool)
        free[slice(*room)] = True
        pairs = {i: mark.span for i, mark in enumerate(marks) if mark.closing and self._inside(mark.span).any()}
        found = self._runs(pairs, free)
        placed = []
        for i, mark in enumerate(marks):
            start, end = found[i] if i in found else (self._border(mark.span[0], room, list(found.values())),) * 2
            first, last = (
                min(max(place, characters[0]), characters[1])
                for place in self._characters(start, end, after=mark.after)
            )
            if not mark.closing:
                first = last = self.edges.get(mark.span[0], first)
            else:
                first = self.edges.get(mark.span[0], first) if start == 0 else first
                last = self.edges.get(mark.span[1], last) if end == len(self.tgt) else last
            inner = self.place(mark.inner, (start, end), (first, last))
            placed.append(Mark(mark.opening, mark.closing, (first, last), mark.after, inner))
        return placed

    def _runs(self, pairs: Mapping[int, Span], free: BoolArray) -> dict[int, Span]:
        """The run of free words for each pair of marks; none is empty where there are words enough."""
        order = sorted(pairs, key=lambda i: -self._best(pairs[i], free)[0])  # the most certain first
        found = self._chosen(pairs, order, free, {})
        if all(start < end for start, end in found.values()):
            return found
        reserved, left = dict[int, int](), free & ~self.tgt_signs
        for i in order:
            if left.any():
                reserved[i] = int(np.where(left, self._gains(pairs[i]), -np.inf).argmax())
                left[reserved[i]] = False
        return self._chosen(pairs, order, free, reserved)

    def _chosen(
        self, pairs: Mapping[int, Span], order: Sequence[int], free: BoolArray, reserved: Mapping[int, int]
    ) -> dict[int, Span]:
        """The best run of each pair in turn, without words that are reserved for those to come."""
        free, found = free.copy(), dict[int, Span]()
        for i in order:
            own = free.copy()
            own[[word for j, word in reserved.items() if j != i and j not in found]] = False
            _, found[i] = self._best(pairs[i], own)
            free[slice(*found[i])] = False
        return found

    def _gains(self, span: Span) -> FloatArray:
        """How much more each word of the translation aligns with a span of the source than with the rest."""
        inside = self._inside(span)
        return self.shares[inside].sum(axis=0) - self.shares[~inside].sum(axis=0) - np.float32(1e-3)

    def _inside(self, span: Span) -> BoolArray:
        """True for the source words within a span."""
        return np.array([start < span[1] and span[0] < end for start, end in self.src], dtype=bool)

    def _best(self, span: Span, free: BoolArray) -> tuple[float, Span]:
        """The run of free words that aligns most with a span and least with the rest."""
        inside = self._inside(span)
        if inside.all() and free.all():
            return np.inf, (0, len(free))
        # Punctuation may be at the edge of a run only if it was at the edge of the span.
        first, last = (free & (~self.tgt_signs | self._edge(inside, i)) for i in (0, -1))
        found = best_run(np.where(free, self._gains(span), -np.inf), first, last)
        if found is None:
            border = self._border(span[0], (0, len(self.tgt)), [])
            return -np.inf, (border, border)
        return found

    def _edge(self, inside: BoolArray, place: int) -> bool:
        """Whether the first (0) or last (-1) of the chosen source words is punctuation."""
        return bool(inside.any() and self.src_signs[inside][place])

    def _border(self, place: int, room: Span, taken: Sequence[Span]) -> int:
        """The border between words, within a range, that divides them most like a position in the source."""
        before = np.array([end <= place for _, end in self.src], dtype=bool)
        leaning = self.shares[before].sum(axis=0) - self.shares[~before].sum(axis=0)
        borders = [i for i in range(room[0], room[1] + 1) if not any(start < i < end for start, end in taken)]
        if before.all():  # a tag at the end stays at the end
            return borders[-1]
        up_to = np.append(0, np.cumsum(leaning))
        return max(borders, key=lambda i: (up_to[i], -i)) if before.any() else borders[0]

    def _characters(self, start: int, end: int, *, after: bool) -> Span:
        """The characters of a range of words; for an empty one, a position after the word before or before the next."""
        if start < end:
            return self.tgt[start][0], self.tgt[end - 1][1]
        if not self.tgt:
            return 0, 0
        follows = start and (after or start == len(self.tgt))
        place = self.tgt[start - 1][1] if follows else self.tgt[start][0]
        return place, place


def _render(marked: StrippedLine, translation: str, marks: list[Mark], span: Span) -> str:
    here, parts = span[0], []
    for mark in sorted(marks, key=lambda mark: mark.span):
        inner = _render(marked, translation, mark.inner, mark.span)
        parts.append(marked.filled(translation[here : mark.span[0]]))
        parts += [_spaced(mark, "".join(parts[-4:]), begins=mark.span[0] == 0), inner, mark.closing]
        here = max(here, mark.span[1])
    return "".join([*parts, marked.filled(translation[here : span[1]])])


def _spaced(mark: Mark, before: str, *, begins: bool) -> str:
    """The opening of a mark, which may begin with a space, without a second one before it and none at the beginning."""
    if not mark.opening.startswith(" ") or not (begins or before.endswith(" ")):
        return mark.opening
    return mark.opening[1:] + (" " if mark.after else "")


def keeps_names(marked: StrippedLine, translation: str, endings: str = "") -> bool:
    """Whether a translation contains each name exactly once, maybe with one of some endings."""
    ending = f"[{endings}]?" if endings else ""
    return all(
        len(re.findall(rf"(?<!\w){name}{ending}(?!\w)", translation)) == 1 == translation.count(name)
        for name in marked.names
    )


def shown(pieces: list[str], names: dict[str, str]) -> dict[int, str]:
    """What to show for tokens that names are made of: the placeholder for the first, and nothing for the others.

    Args:
        pieces: Those of a translation.
        names: The names in it, and their placeholders.
    """
    ends, length = list[int](), 0
    for piece in pieces:
        length += len(piece)
        ends.append(length)
    text, found = "".join(pieces), dict[int, str]()
    for name, placeholder in names.items():
        start = text.find(name)
        if start < 0:
            continue
        first = next(i for i, end in enumerate(ends) if end > start)
        last = next(i for i, end in enumerate(ends) if end >= start + len(name))
        before = text[ends[first] - len(pieces[first]) : start]
        found |= dict.fromkeys(range(first, last + 1), "")
        found[first] = before + placeholder + text[start + len(name) : ends[last]]
    return found


def _escaped(text: str) -> str:
    import html  # imported here, because plain lines need none of its 2,200 entities

    return html.escape(text, quote=False)
