"""Words and punctuation marks of a text, and where they are."""

import re

from heed.models.patterns import regex

WORD = regex(r"\w+|[^\w\s]")
# Double ones, of any language; single ones are apostrophes, too.
QUOTE = regex('["\u201e\u201c\u201d\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f]')
CURLY = str.maketrans(dict.fromkeys("\u201e\u201c\u201d\u201f", '"'))

Span = tuple[int, int]  # in characters


def word_spans(text: str) -> list[Span]:
    """The spans of the words and punctuation marks of a text."""
    return [match.span() for match in WORD.finditer(text)]


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans have a character in common."""
    return one[0] < other[1] and other[0] < one[1]


def spaced_words(text: str) -> list[Span]:
    """The spans of what white space separates, each without punctuation at its ends unless it has nothing else."""
    return [_core(text, *match.span()) for match in re.finditer(r"\S+", text)]


def _core(text: str, start: int, end: int) -> Span:
    inside = re.search(r"\w(.*\w)?", text[start:end])
    return (start + inside.start(), start + inside.end()) if inside else (start, end)


def n_quotes(text: str) -> int:
    """How many double quotation marks a text has, of any language; they come in pairs."""
    return len(QUOTE.findall(text))


def keeps_quotes(source: str, translation: str) -> bool:
    """Whether a translation has as many marks as its source, if these are pairs."""
    n = n_quotes(source)
    return n % 2 != 0 or n_quotes(translation) == n


def with_straight_quotes(text: str) -> str:
    """A text with " for curly marks, which networks have seen less often."""
    return text.translate(CURLY)
