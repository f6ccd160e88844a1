"""What languages write alike: numbers, addresses, code words and, in some scripts, names."""

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from heed.models.patterns import regex
from heed.models.text.words import Span

# Words with all that holds them together inside; punctuation around them is no part.
TOKEN = regex(
    r"""
    (?: [A-Za-z][A-Za-z0-9+.-]*+:// | www\. ) [^\s<>"]* [\w/]   # https://example.com/a?b=1
    | [\w.+-]++ @ \w[\w-]* (?: \.[\w-]+ )+                      # someone@example.com
    | °[A-Z]?                                                   # °C
    | (?<![\w/]) (?: ~?/ | \.{1,2}/ | --? )? \w++ (?: [.,:/\\_#&+'\u2019-]+ \w+ )*
    """,
    re.VERBOSE,
)  # fmt: skip
# Most sentences: small letters, but for the first one, in words that nothing joins; seen in a quarter of the time.
PLAIN = regex(r"([A-ZÀ-Þ][a-zß-öø-ÿ]*+|[a-zß-öø-ÿ]++)(?:,? [a-zß-öø-ÿ]++)*+[.!?]*+")
NUMBER = regex(r"\d+(?:[.,:/'\u2019-]\d+)*")
MEASURE = regex(r"-?(\d+(?:[.,]\d+)*)[^\W\d_]{0,3}")  # 3rd, 10km, 90s, -12: the digits alone are written alike
PARTS = regex(r"[^\W\d_](?:\.[^\W\d_])+")  # e.g, U.S: abbreviations, which are translated
COMPOUND = r"[^\W_]++(?:-[^\W_]++)+"
PART = r"(?<![^-])[^\W\d_][a-zß-öø-ÿ]+(?![^-])"  # of a compound: a word, which is translated
SMALL_PART = r"(?<![^-])[a-zß-öø-ÿ]{2,}(?![^-])"
RUN = r"[^\s-]+(?:-[^\s-]+)*"
CLITIC = regex(r"['\u2019](?![A-ZÀ-Þ]).*$")  # of Tom's, I'm, don't; not of O'Brien


class LiteralKind(enum.Enum):
    """Of what is written alike."""

    NUMBER = enum.auto()
    ADDRESS = enum.auto()  # URLs, e-mail
    CODE = enum.auto()  # names of files and programs, serial numbers
    NAME = enum.auto()  # any word with a capital letter: whether it is a name, its spelling does not say


class Literal(NamedTuple):
    """Something in a text that its translation may have as it is."""

    kind: LiteralKind
    text: str
    start: int  # in characters

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)

    @property
    def span(self) -> Span:
        """Where it is."""
        return self.start, self.stop


def find_literals(text: str) -> Iterator[Literal]:
    """The literals of a text, in their order."""
    if plain := PLAIN.fullmatch(text):
        if len(plain[1]) > 1 and plain[1][0].isupper():
            yield Literal(LiteralKind.NAME, plain[1], 0)
        return
    for match in TOKEN.finditer(text):
        word, start = match[0], match.start()
        if word.isalpha() and (len(word) == 1 or word[1:].islower()):  # nearly every word: neither code nor number
            if len(word) > 1 and word[0].isupper():
                yield Literal(LiteralKind.NAME, word, start)
        else:
            for part, at in _parts(word):
                if literal := _literal(part, start + at):
                    yield literal


def _parts(word: str) -> Iterator[tuple[str, int]]:
    """What of a compound is no word, and where: the 16 of "16-year-old", COVID-19 alone; all of what is no compound.

    Without a number, words with capitals may belong to a name, such as Jean-Luc.
    """
    if "-" not in word or not re.fullmatch(COMPOUND, word):
        yield word, 0
        return
    part = PART if re.search(r"\d", word) else SMALL_PART
    for match in re.finditer(RUN, re.sub(part, lambda found: " " * len(found[0]), word)):
        yield match[0], match.start()


def _literal(word: str, start: int) -> Literal | None:
    if kind := _kind(word):
        return Literal(kind, CLITIC.sub("", word) if kind is LiteralKind.NAME else word, start)
    measure = MEASURE.fullmatch(word)
    return Literal(LiteralKind.NUMBER, measure[1], start + measure.start(1)) if measure else None


def _kind(word: str) -> LiteralKind | None:
    if "://" in word or "@" in word or word.startswith("www."):
        return LiteralKind.ADDRESS
    if NUMBER.fullmatch(word):
        return LiteralKind.NUMBER
    if MEASURE.fullmatch(word):
        return None
    if _is_code(word):
        return LiteralKind.CODE
    return LiteralKind.NAME if word[0].isupper() and len(CLITIC.sub("", word)) > 1 else None


def _is_code(word: str) -> bool:
    """Whether a word is spelt as no word of a language is."""
    if re.search(r"[_\\]|^(?:~?/|\.{1,2}/|--|°)", word):
        return True
    if re.search(r"\d", word):
        return bool(re.search(r"[^\W\d_]", word)) and not re.search(r"['\u2019]", word)
    if re.search(r"[^\W\d_]\.[^\W\d_]", word):
        return not PARTS.fullmatch(word)
    return bool(re.search(r"[a-zß-ÿ][A-Z]", word)) and "-" not in word  # JavaScript, iPhone
