"""Tags and placeholders within a sentence: taken out before it is translated, and put into its translation."""

import dataclasses
import html
import re
from collections.abc import Collection, Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray
from heed.models.decoding.alignment import Span, word_spans
from heed.models.text.tags import is_tag

# Names, which translations keep, stand for placeholders; of those that are not in a line, the first that do.
NAMES = ("Tom", "Boston", "Maria", "Peter", "London", "David", "Berlin", "Anna", "Paris", "Martin", "Robert", "Chicago")


@dataclasses.dataclass
class Mark:
    """A pair of tags around some text, or a single tag at a place of it."""

    opening: str
    closing: str  # none for a single tag
    span: Span  # of the text without mark-up
    after: bool  # whether it follows a word without a space, and none follows it so
    inner: "list[Mark]" = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Marked:
    """A line without its mark-up, with names for its placeholders."""

    text: str
    marks: list[Mark]  # the outermost
    names: dict[str, str]  # and the placeholders they stand for
    escaped: bool = False  # whether the line writes &, < and > as entities

    def filled(self, text: str) -> str:
        """A part of a translation with the placeholders in the places of their names."""
        if self.escaped:
            text = html.escape(text, quote=False)
        return re.sub("|".join(self.names), lambda match: self.names[match[0]], text) if self.names else text


def take_out(
    line: str, kept: Sequence[Span], turn: int = 0, *, symbols: Collection[Span] = (), escaped: bool = False
) -> Marked | None:
    """Take what is to be kept out of a line; None where the names do not suffice.

    Args:
        line: A line of text.
        kept: Where it is; see `find_kept`.
        turn: How many of the possible names to leave out.
        symbols: What of it stands at a place, as a single tag does, and for no word.
        escaped: Whether the line writes &, < and > as entities, and its translation must, too.
    """
    free = [name for name in NAMES if name not in line][turn:]
    text, names, end = "", dict[str, str](), 0
    root = Mark("", "", (0, 0), False)
    open_marks = [root]
    for start, stop in kept:
        text, found, end = text + line[end:start], line[start:stop], stop
        if not is_tag(found) and (start, stop) not in symbols:
            if not free:
                return None
            name = free.pop(0)
            names[name] = found
            text += _gap(text[-1:], name) + name + _gap(name, line[end : end + 1])
            continue
        closed = next((mark for mark in open_marks[:0:-1] if found.startswith("</") and _closes(found, mark)), None)
        if closed:
            _lift(open_marks, closed)
            closed.closing, closed.span = found, (closed.span[0], len(text))
            open_marks.pop()
            continue
        after = bool(text[-1:].strip()) and not line[end : end + 1].strip()
        mark = Mark(found, "", (len(text), len(text)), after)
        open_marks[-1].inner.append(mark)
        if not found.startswith(("</", "<!")) and not found.endswith("/>") and (start, stop) not in symbols:
            open_marks.append(mark)
    _lift(open_marks, root)
    return Marked(text + line[end:], root.inner, names, escaped)


def _closes(kept: str, mark: Mark) -> bool:
    return kept[2:-1].rstrip() == re.split(r"[\s>]", mark.opening[1:])[0]


def _gap(before: str, after: str) -> str:
    """A space between what would be one word."""
    return " " if re.search(r"\w\Z", before) and re.match(r"\w", after) else ""


def _lift(open_marks: list[Mark], last: Mark) -> None:
    """Take off the marks above one that are not closed within it: they contain nothing."""
    while open_marks[-1] is not last:
        mark = open_marks.pop()
        open_marks[-1].inner += mark.inner
        mark.inner = []


def put_back(marked: Marked, translation: str, shares: FloatArray | None) -> str:
    """A translation with the mark-up and the placeholders of its source.

    Each pair of tags encloses the words that come from those it enclosed, as many as can be had in one place; each
    single tag stands where what is before it comes from what was before it. Tags are nested as they were.

    Args:
        marked: The source.
        translation: Of its text, with its names.
        shares: What each source word has of each word of the translation; see `decoding.alignment.align`. None:
            both are taken to go on at the same pace.
    """
    src, tgt = word_spans(marked.text), word_spans(translation)
    shares = _same_pace(len(src), len(tgt)) if shares is None else shares
    words = _Words(src, tgt, _signs(marked.text, src), _signs(translation, tgt), shares)
    whole = (0, len(translation))
    return _render(marked, translation, words.place(marked.marks, (0, len(tgt)), whole), whole)


def _signs(text: str, words: list[Span]) -> BoolArray:
    return np.array([not re.match(r"\w", text[start:end]) for start, end in words], dtype=bool)


def _same_pace(n_src: int, n_tgt: int) -> FloatArray:
    """Shares in which each word of the translation comes from the word as far on in the source."""
    shares = np.zeros((n_src, n_tgt), dtype=np.float32)
    if n_src:
        shares[np.arange(n_tgt) * n_src // max(n_tgt, 1), np.arange(n_tgt)] = 1
    return shares


def best_run(gains: FloatArray, first: BoolArray, last: BoolArray) -> tuple[float, Span] | None:
    """The run with the largest sum of gains, (N,), and that sum; in one pass (Kadane's).

    Args:
        gains: -inf for what no run may contain.
        first: With which a run may begin, (N,).
        last: With which it may end, (N,).
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


@dataclasses.dataclass
class _Words:
    """The words of both sides."""

    src: list[Span]
    tgt: list[Span]
    src_signs: BoolArray  # which of them are punctuation
    tgt_signs: BoolArray
    shares: FloatArray

    def place(self, marks: list[Mark], room: Span, characters: Span) -> list[Mark]:
        """Marks with the spans they have in the translation, within some of its words, which have these characters."""
        free = np.zeros(len(self.tgt), dtype=bool)
        free[slice(*room)] = True
        pairs = [i for i, mark in enumerate(marks) if mark.closing and self._inside(mark.span).any()]
        found: dict[int, Span] = {}
        for i in sorted(pairs, key=lambda i: -self._best(marks[i].span, free)[0]):  # the surest first
            _, found[i] = self._best(marks[i].span, free)
            free[slice(*found[i])] = False
        placed = []
        for i, mark in enumerate(marks):
            start, end = found[i] if i in found else (self._border(mark.span[0], room, list(found.values())),) * 2
            first, last = (
                min(max(place, characters[0]), characters[1])
                for place in self._characters(start, end, after=mark.after)
            )
            inner = self.place(mark.inner, (start, end), (first, last))
            placed.append(Mark(mark.opening, mark.closing, (first, last), mark.after, inner))
        return placed

    def _inside(self, span: Span) -> BoolArray:
        """Which source words are in a span."""
        return np.array([start < span[1] and span[0] < end for start, end in self.src], dtype=bool)

    def _best(self, span: Span, free: BoolArray) -> tuple[float, Span]:
        """The run of free words that has most of a span and least of the rest."""
        inside = self._inside(span)
        if inside.all() and free.all():
            return np.inf, (0, len(free))
        # Punctuation is at the edge of a run only where it was at the edge of the span.
        first, last = (free & (~self.tgt_signs | self._edge(inside, i)) for i in (0, -1))
        gains = np.where(free, self.shares[inside].sum(axis=0) - self.shares[~inside].sum(axis=0) - 1e-3, -np.inf)
        found = best_run(gains, first, last)
        if found is None:
            border = self._border(span[0], (0, len(self.tgt)), [])
            return -np.inf, (border, border)
        return found

    def _edge(self, inside: BoolArray, place: int) -> bool:
        """Whether the first (0) or last (-1) of some source words is punctuation."""
        return bool(inside.any() and self.src_signs[inside][place])

    def _border(self, place: int, room: Span, taken: Sequence[Span]) -> int:
        """The border between words, within some room, that parts them most as a place does in the source."""
        before = np.array([end <= place for _, end in self.src], dtype=bool)
        leaning = self.shares[before].sum(axis=0) - self.shares[~before].sum(axis=0)
        borders = [i for i in range(room[0], room[1] + 1) if not any(start < i < end for start, end in taken)]
        if before.all():  # what is last, stays last
            return borders[-1]
        up_to = np.append(0, np.cumsum(leaning))
        return max(borders, key=lambda i: (up_to[i], -i)) if before.any() else borders[0]

    def _characters(self, start: int, end: int, *, after: bool) -> Span:
        """Where some words are; where they are none, a place after the word before, or before the next."""
        if start < end:
            return self.tgt[start][0], self.tgt[end - 1][1]
        if not self.tgt:
            return 0, 0
        follows = start and (after or start == len(self.tgt))
        place = self.tgt[start - 1][1] if follows else self.tgt[start][0]
        return place, place


def _render(marked: Marked, translation: str, marks: list[Mark], span: Span) -> str:
    here, parts = span[0], []
    for mark in sorted(marks, key=lambda mark: mark.span):
        inner = _render(marked, translation, mark.inner, mark.span)
        parts += [marked.filled(translation[here : mark.span[0]]), mark.opening, inner, mark.closing]
        here = max(here, mark.span[1])
    return "".join([*parts, marked.filled(translation[here : span[1]])])


def keeps_names(marked: Marked, translation: str) -> bool:
    """Whether a translation has each name once."""
    return all(
        len(re.findall(rf"(?<!\w){name}(?!\w)", translation)) == 1 == translation.count(name) for name in marked.names
    )
