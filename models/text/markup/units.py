"""What of a line is translated by itself: the text between block elements, without what stands at its edges."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from heed.models.patterns import regex
from heed.models.text.literals import LiteralKind, find_literals
from heed.models.text.markup.placeholders import tidied
from heed.models.text.markup.tags import is_inline
from heed.models.text.words import Span, overlap

ENTITY = regex(r"&(?:[A-Za-z]\w{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
REACH = 40  # characters of what a symbol joins, on either side
WITHIN_WORD = r"\w(?:[.,]?\w)*+\Z", r"\w(?:[.,]?\w)*+"
BETWEEN_NUMBERS = r"\d(?:[.,]?\d)*+ \Z", r" \d(?:[.,]?\d)*+"
AFTER = regex(r"\s*[:;.!?)\]>|=\u2013\u2014-]+\s+")  # what parts a placeholder from the sentence after it
BEFORE = regex(r"[:=]\s*\Z")  # and from the one before


class Unit(NamedTuple):
    """A part of a line with what stands around it; the units of a line, joined, are the line."""

    before: str
    text: str  # with characters for entities; empty where there is nothing to translate
    after: str
    kept: tuple[Span, ...] = ()  # of the text
    symbols: frozenset[Span] = frozenset()  # those of them that stand at a place, and for no word
    escaped: bool = False  # whether the line has entities, and so writes &, < and > as such
    raw: tuple[Span, ...] = ()  # what of the text is as the line writes it
    copied: tuple[str, ...] = ()  # what of it the model does not know


class Splitter:
    """Cuts lines into units.

    Args:
        has_words: Whether a text has something to translate.
        unknown: Where the characters of a text are that the model does not know.
    """

    def __init__(self, has_words: Callable[[str], bool], unknown: Callable[[str], list[Span]]) -> None:
        self._has_words, self._unknown = has_words, unknown

    def split(self, line: str, kept: Sequence[Span], bounds: Sequence[Span], *, escaped: bool) -> list[Unit]:
        """Cut a line where something that is kept parts sentences.

        Args:
            line: A line of text.
            kept: What is kept within sentences, from left to right.
            bounds: What parts them.
            escaped: Whether the line may write characters as entities.
        """
        escaped = escaped and ENTITY.search(line) is not None
        if not (kept or bounds or escaped or self._unknown(line)):  # the usual case
            return [Unit("", line, "") if self._has_words(line) else Unit(line, "", "")]
        units, before, start = list[Unit](), "", 0
        inner = iter([*kept, (len(line), len(line))])
        span = next(inner)
        for bound in [*bounds, (len(line), len(line))]:
            spans = []
            while span[1] <= bound[0] and span[0] < len(line):
                spans.append((span[0] - start, span[1] - start))
                span = next(inner)
            unit = self._unit(line[start : bound[0]], spans, escaped=escaped)
            start, markup = bound[1], line[slice(*bound)]
            if unit.text or not units:
                before += unit.before
                units += [unit._replace(before=before, after=unit.after + markup)]
                before = ""
            else:
                copied = units[-1].copied + unit.copied
                after = units[-1].after + unit.before + markup
                units[-1] = units[-1]._replace(after=after, copied=copied)
        return units

    def _unit(self, raw: str, spans: Sequence[Span], *, escaped: bool) -> Unit:
        """The unit of a text between bounds."""
        if not self._has_words(_without(ENTITY.sub(" ", raw) if escaped and not spans else raw, spans)):
            return Unit(raw, "", "")
        spans = tidied(raw, spans, _marks(raw, spans))
        before, text, after, spans = _peeled(raw, spans, self._has_words)
        if escaped:
            text, spans = _unescaped(text, spans)
        as_written = tuple(spans)
        unknown = [part for span in self._unknown(text) for part in _outside(text, span, spans)]
        copied = tuple(text[slice(*span)] for span in unknown)
        new = _whole(text, unknown, spans)
        symbols = frozenset(_with_space(text, span, spans) for span in new if _is_symbol(text[slice(*span)]))
        if new:
            spans = sorted([*spans, *symbols, *(span for span in new if not _is_symbol(text[slice(*span)]))])
            spans = tidied(text, spans, _marks(text, spans) | symbols)
        if not self._has_words(_without(text, spans)):
            return Unit(raw, "", "", copied=copied)
        return Unit(before, text, after, tuple(spans), symbols, escaped, as_written, copied)


def _outside(text: str, span: Span, kept: Sequence[Span]) -> list[Span]:
    """What of a span is not kept anyway: a tokenizer gives one span for [<, of which < may begin a tag."""
    start, end = span
    inside = [each for each in kept if overlap(span, each)]
    ends = [start, *(place for each in inside for place in each), end]
    return [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if text[a:b].strip() and a < b]


def _whole(text: str, unknown: Sequence[Span], kept: Sequence[Span]) -> list[Span]:
    """Spans of unknown characters, widened to the address, the code word or the formula they are in; none overlap."""
    if not unknown:
        return []
    wide = [
        (each.start, each.stop) for each in find_literals(text) if each.kind in (LiteralKind.ADDRESS, LiteralKind.CODE)
    ]
    wide = [span for span in wide if not any(overlap(span, each) for each in kept)]
    found = list[Span]()
    for span in unknown:
        whole = next((each for each in wide if overlap(each, span)), _with_operands(text, span))
        if any(overlap(whole, each) for each in kept):
            whole = span
        if found and whole[0] < found[-1][1]:
            start, end = found.pop()
            whole = start, max(whole[1], end)
        found.append(whole)
    return found


def _with_operands(text: str, span: Span) -> Span:
    """A symbol with what it joins, as in x<y, 5 < 6 and <3; those of [Note] join nothing."""
    if re.search(r"[^\W_]", text[slice(*span)]):
        return span
    near = text[max(0, span[0] - REACH) : span[0]], text[span[1] : span[1] + REACH]
    for pattern_before, pattern_after in (WITHIN_WORD, BETWEEN_NUMBERS):
        before, after = re.search(pattern_before, near[0]), re.match(pattern_after, near[1])
        if before and after:
            return span[0] - len(before[0]), span[1] + len(after[0])
    before, after = re.search(WITHIN_WORD[0], near[0]), re.match(WITHIN_WORD[1], near[1])
    n_before = len(before[0]) if before and before[0][-1].isdigit() else 0
    n_after = len(after[0]) if after and after[0][0].isdigit() else 0
    return span[0] - n_before, span[1] + n_after


def _marks(text: str, spans: Sequence[Span]) -> set[Span]:
    """Those that are tags, which stand at a place of the text, and for none of its words."""
    return {span for span in spans if is_mark(text[slice(*span)])}


def is_mark(kept: str) -> bool:
    """Whether something kept is a tag or a comment, and no placeholder."""
    return kept.startswith("<") and is_inline(kept)


def _is_symbol(text: str) -> bool:
    """Whether something stands for no word: it has no letter or digit, or begins with a control character."""
    return not re.search(r"\w", text) or unicodedata.category(text[0]) == "Cc"


def _with_space(text: str, span: Span, kept: Sequence[Span]) -> Span:
    """A symbol with the space before it, unless a word or a tag follows at once, or, at the beginning, after it."""
    start, end = span
    if any(each[0] == end for each in kept):
        return span
    if text[start - 1 : start] == " " and not re.match(r"\w", text[end : end + 1]):
        return start - 1, end
    return (start, end + 1) if start == 0 and text[end : end + 1] == " " else span


def _without(text: str, spans: Sequence[Span]) -> str:
    start, parts = 0, []
    for span in spans:
        parts.append(text[start : span[0]])
        start = span[1]
    return " ".join([*parts, text[start:]])


def _peeled(text: str, spans: list[Span], has_words: Callable[[str], bool]) -> tuple[str, str, str, list[Span]]:
    """A text without the placeholders at its ends that punctuation parts from it: before, text, after, and spans."""
    before = after = ""
    if spans and not is_mark(text[slice(*spans[0])]) and not has_words(text[: spans[0][0]]):
        found = AFTER.match(text, spans[0][1])
        if found and (len(spans) == 1 or found.end() <= spans[1][0]):
            before, text = text[: found.end()], text[found.end() :]
            spans = [(start - found.end(), end - found.end()) for start, end in spans[1:]]
    if spans and not is_mark(text[slice(*spans[-1])]) and not has_words(text[spans[-1][1] :]):
        start = spans[-1][0]
        if BEFORE.search(text[:start]) and has_words(_without(text[:start], spans[:-1])):
            text, after = text[:start].rstrip(), text[len(text[:start].rstrip()) :]
            spans = spans[:-1]
    return before, text, after, spans


def _unescaped(text: str, spans: Sequence[Span]) -> tuple[str, list[Span]]:
    """A text with characters for its entities, but for those in what is kept; and where that is then."""
    import html  # imported here, because plain lines need none of its 2,200 entities

    parts, found, start, length = list[str](), list[Span](), 0, 0
    for span in [*spans, (len(text), len(text))]:
        parts.append(html.unescape(text[start : span[0]]))
        length += len(parts[-1])
        if span[0] < len(text):
            found.append((length, length + span[1] - span[0]))
        parts.append(text[slice(*span)])
        length += len(parts[-1])
        start = span[1]
    return "".join(parts), found
