"""Sentences in capitals, and the same in small letters, which models know better."""

import re
from collections.abc import Callable
from typing import NamedTuple

from heed.models.patterns import regex
from heed.models.text.words import Span

WORD = regex(r"[^\W\d_]+")
CODE = regex(r"[_@\\/]|[^\W\d_]\d|\d[^\W\d_]|\w\.\w")  # AX410, README.TXT
LETTERS = 6  # of a sentence in capitals, at least: shorter ones may be abbreviations


def is_in_capitals(text: str) -> bool:
    """Whether a text of two words or more has no small letter, and nothing that is spelt as no word is."""
    n_letters = sum(map(str.isalpha, text))
    return text.isupper() and n_letters >= LETTERS and len(WORD.findall(text)) > 1 and not CODE.search(text)


class SmallLetters(NamedTuple):
    """A sentence in capitals as it is usually written."""

    text: str
    names: list[Span]  # words that the model's vocabulary has rather with a capital, and not as one token
    rare: list[Span]  # all words that are not one token either way


def in_small_letters(text: str, n_tokens: Callable[[str], int]) -> SmallLetters:
    """A sentence in capitals as it is usually written, and where it has names that the model may not know.

    Args:
        text: The sentence.
        n_tokens: The number of tokens of a word.
    """
    parts, names, rare, end = list[str](), list[Span](), list[Span](), 0
    for match in WORD.finditer(text):
        small, large = match[0].lower(), match[0].capitalize()
        n_small, n_large = n_tokens(small), n_tokens(large)
        is_name, is_rare = n_small > 1 and n_large <= n_small, min(n_small, n_large) > 1
        names += [match.span()] if is_name and is_rare else []
        rare += [match.span()] if is_rare else []
        begins = not re.search(r"\w", text[: match.start()])
        parts += [text[end : match.start()], large if is_name or begins else small]
        end = match.end()
    return SmallLetters("".join([*parts, text[end:]]), names, rare)
