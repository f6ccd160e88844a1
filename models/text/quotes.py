"""Quotation marks, which come in pairs."""

import re

MARK = re.compile(
    '["\u201e\u201c\u201d\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f]'
)  # no single ones: apostrophes are written so
CURLY = str.maketrans(dict.fromkeys("\u201e\u201c\u201d\u201f", '"'))


def n_marks(text: str) -> int:
    """How many double quotation marks a text has, of any language."""
    return len(MARK.findall(text))


def keeps_quotes(source: str, translation: str) -> bool:
    """Whether a translation has as many marks as its source, if these are pairs."""
    n = n_marks(source)
    return n % 2 != 0 or n_marks(translation) == n


def with_straight_quotes(text: str) -> str:
    """A text with " for curly marks, which networks have seen less often."""
    return text.translate(CURLY)
