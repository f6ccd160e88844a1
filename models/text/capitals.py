"""Sentences in capitals, and the same in small letters, which models know better."""

import re
from collections.abc import Callable

from heed.models.text.words import Span

WORD = re.compile(r"[^\W\d_]+")
CODE = re.compile(r"[_@\\/]|[^\W\d_]\d|\d[^\W\d_]|\w\.\w")  # AX410, README.TXT
LETTERS = 6  # of a sentence in capitals, at least: shorter ones may be abbreviations


def is_in_capitals(text: str) -> bool:
    """Whether a text of two words or more has no small letter, and nothing that is spelt as no word is."""
    n_letters = sum(map(str.isalpha, text))
    return text.isupper() and n_letters >= LETTERS and len(WORD.findall(text)) > 1 and not CODE.search(text)


def in_small_letters(text: str, n_tokens: Callable[[str], int]) -> tuple[str, list[Span]]:
    """A sentence in capitals as it is usually written, and where it has names that the model may not know.

    A name is a word that the model's vocabulary has rather with a capital than without.

    Args:
        text: The sentence.
        n_tokens: The number of tokens of a word.
    """
    parts, names, end = list[str](), list[Span](), 0
    for match in WORD.finditer(text):
        small, large = match[0].lower(), match[0].capitalize()
        n_small, n_large = n_tokens(small), n_tokens(large)
        is_name = n_small > 1 and n_large <= n_small
        if is_name and n_large > 1:
            names.append(match.span())
        begins = not re.search(r"\w", text[: match.start()])
        parts += [text[end : match.start()], large if is_name or begins else small]
        end = match.end()
    return "".join([*parts, text[end:]]), names
