"""Words and punctuation marks of a text, and where they are."""

import re

WORD = re.compile(r"\w+|[^\w\s]")

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
