"""Mnemonics of menus and buttons: the mark before the letter that chooses an entry, as in "&File" and "_Open"."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from heed.models.patterns import regex
from heed.models.text.words import Span

# At the beginning of a word, but for an entity; and within one, where it is no "R&D" and no "rock&roll".
MARK = regex(
    r"(?<![\w&])[&_](?=[^\W\d_])(?!\w+;)|(?<=\b[^\W\d_])&(?=[a-z]{2})(?!\w+;)|(?<=\b[^\W\d_]{2})&(?=[a-z]{2})(?!\w+;)"
)

LONGEST = 60  # characters of a label; a longer text has no mnemonic


class Mnemonic(NamedTuple):
    """A mark and the letter after it."""

    mark: str
    letter: str

    def put_into(self, translation: str, kept: Sequence[Span] = ()) -> str:
        """A translation with the mark before the same letter, at the beginning of a word if there is one.

        Without that letter, the mark stands before the first one; in a script without Latin letters, "(&F)" follows.

        Args:
            translation: A translation of the text without the mark.
            kept: Where placeholders and tags stand in it, which have no mnemonics.
        """
        letter = re.escape(self.letter)
        for pattern in (rf"(?<!\w){letter}", letter, "[A-Za-z\u00c0-\u024f]"):
            for match in re.finditer(pattern, translation, re.IGNORECASE):
                if not any(start <= match.start() < end for start, end in kept):
                    return f"{translation[: match.start()]}{self.mark}{translation[match.start() :]}"
        words = translation.rstrip(" .:\u2026")
        return f"{words}({self.mark}{self.letter.upper()}){translation[len(words) :]}"


def take_mnemonic(text: str, kept: Sequence[Span] = ()) -> tuple[str, Mnemonic | None]:
    """A text without the mark of its mnemonic, and the mnemonic; None if there is not exactly one.

    Args:
        text: A text.
        kept: Where placeholders, tags and addresses stand in it.
    """
    found = [match.start() for match in MARK.finditer(text)]
    if (
        len(found) != 1
        or len(text) > LONGEST
        or text.count(text[found[0]]) > 1
        or any(start <= found[0] < end for start, end in kept)
    ):
        return text, None
    place = found[0]
    return text[:place] + text[place + 1 :], Mnemonic(text[place], text[place + 1])
