"""The characters of a text that a model does not know, which translations keep as they are."""

import re
import unicodedata
from functools import cached_property

from heed.models.patterns import regex
from heed.models.text.words import Span, overlap
from heed.models.tokenizers.protocol import LineTokenizer

# Characters that are not seen, and no part of a word: tokenizers take them for spaces, or for what they do not know.
# Joiners and variation selectors shape the letters of some scripts and emoji, but no Latin letter.
LATIN = "[A-Za-z\u00c0-\u024f]"
INVISIBLE = regex(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
    f"|(?<={LATIN})[\u200c\u200d\ufe00-\ufe0f]"
)
SPACE = regex("[\v\f\x1c-\x1f\x85]")  # which tokenizers drop, so that two words would be one
# What tokenizers drop or take for something else: escape sequences of terminals and other control characters, ½ and x².
COPIED = regex(
    r"\x1b\[[0-?]*+[ -/]*+[@-~]|[\x00-\x08\x0e-\x1a\x7f-\x84\x86-\x9f]++|\x1b"
    "|[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u218b\u2460-\u249b\u24ea-\u24ff\u2776-\u2793]++"
)


def visible(text: str) -> str:
    """A text without characters that are not seen, and with one kind of space."""
    if text.isascii() and text.isprintable():  # the usual case, which has neither
        return text
    return SPACE.sub(" ", INVISIBLE.sub("", text))


class UnknownCharacters:
    """Finds the characters that a tokenizer has no piece for.

    Where it writes these in bytes, a network has hardly ever seen them, and cannot translate symbols, nor words with
    letters of another alphabet. It may know rare letters of a script that has no capitals and of which the vocabulary
    has words: of Han, say, any language has thousands.
    """

    def __init__(self, tokenizer: LineTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known, self._not_known = set[str](), set[str]()
        self._plain = set[str]()  # known and never copied

    def find(self, text: str) -> list[Span]:
        """Where they are, with the rest of their pieces."""
        if self._plain.issuperset(text):  # the usual case
            return []
        sure = [match.span() for match in COPIED.finditer(text)]
        new = set(visible(text)) - self._known - self._not_known
        self._known |= set(filter(self._knows, new))
        self._not_known |= new - self._known
        self._plain |= {character for character in new & self._known if not COPIED.match(character)}
        if self._not_known.isdisjoint(text):
            return sure
        found = [span for span in self._lacking(text) if not any(overlap(span, each) for each in sure)]
        return sorted([*sure, *found])

    def _knows(self, character: str) -> bool:
        (ids,) = self._tokenizer.encode([character])
        if self._tokenizer.unk_id in ids:
            return False
        if not self._tokenizer.is_lacking[ids].any():
            return True
        return unicodedata.category(character) == "Lo" and _script(character) in self._scripts  # Lo: without case

    @cached_property
    def _scripts(self) -> set[str]:
        """The scripts of which the vocabulary has words."""
        pieces = (self._tokenizer.piece(token) for token in range(len(self._tokenizer)))
        words = (piece for piece in pieces if sum(map(str.isalpha, piece)) > 1 and not re.fullmatch("<.+>", piece))
        return {_script(letter) for letter in set("".join(words)) if letter.isalpha()}

    def _lacking(self, text: str) -> list[Span]:
        """The spans of lacking pieces, joined where they touch: each byte of a character is a piece."""
        found = list[Span]()
        for token, (start, end) in zip(*self._tokenizer.encode_spans(text), strict=True):
            part = text[start:end].lstrip()
            if not part.strip() or not self._tokenizer.is_lacking[token] or self._not_known.isdisjoint(part):
                continue
            span = _whole_characters(text, (end - len(part), end))
            if found and found[-1][1] >= span[0]:
                span = (found.pop()[0], span[1])
            found.append(span)
        return found


def _script(letter: str) -> str:
    """The script of a letter, as its name in Unicode says."""
    return unicodedata.name(letter, "").split(" ")[0]


def _whole_characters(text: str, span: Span) -> Span:
    """A span with the letters that its accents belong to, and with the accents of its letters."""
    start, end = span
    while start > 0 and unicodedata.category(text[start]) in ("Mn", "Me"):
        start -= 1
    while end < len(text) and unicodedata.category(text[end]) in ("Mn", "Me"):
        end += 1
    return start, end
