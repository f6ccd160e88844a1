"""What a translation lost of its source: numbers, addresses, code words and names that both languages write alike."""

import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from heed.models.tasks.translation.number_forms import NumberForms, Numbers
from heed.models.text.capitals import is_in_capitals
from heed.models.text.dates import MONTHS, WEEKDAYS, find_dates
from heed.models.text.languages import base_language
from heed.models.text.literals import Literal, LiteralKind, find_literals
from heed.models.text.markup.inline import NAMES
from heed.models.text.words import overlap
from heed.models.tokenizers.protocol import LineTokenizer

RARE = 2  # tokens, at least, of a name that is copied: words that are translated are frequent, with pieces of their own
PARTICLES = r" (?:(?:al|bin|da|de|del|den|der|di|dos|du|el|ibn|la|le|ten|ter|van|von) )++"
CAMEL_NAME = r"[A-ZÀ-Þ][a-zß-öø-ÿ]+[A-ZÀ-Þ][a-zß-öø-ÿ]+"  # McAllister
N_WORDS = 4096  # that are remembered
SPELT_WITH_K = ("de", "da", "no", "nb", "sv")  # languages that write Mexiko and Inkas
# Languages in which a capital letter tells no name. A word of these is lost only where the translation has one that
# begins as it does, and garbles it (Nakura for Nakamura), or where it stands as hardly any other noun does.
CAPITALIZING = ("de", "lb")
BARE = r"(?:\b(?:[Ii]n|[Nn]ach|[Aa]us|[Vv]on|[Zz]wischen|[Dd]urch) |, | und | oder )\Z"
TRACE = 3  # letters
SOUNDS = str.maketrans("cwyz", "kvis")  # letters that languages exchange


class ExpectedLiteral(NamedTuple):
    """Something of a source that its translation should have, as the target writes it."""

    kind: LiteralKind
    text: str
    others: tuple[str, ...] = ()  # other ways to write it
    at_first: bool = False  # whether it begins the sentence, as any word may
    # In a language that writes all nouns with a capital: whether it stands as hardly any but names do, or as any may.
    is_bare: bool = False
    may_be_noun: bool = False
    words: str | None = ""  # of a number; see `NumberForms`

    def stands(self, translation: str) -> bool:
        """Whether it stands in a translation, as whole words; a name in any case, but with a capital."""
        is_name = self.kind is LiteralKind.NAME
        pattern = "|".join(map(re.escape, (self.text, *self.others)))
        found = re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", translation, re.IGNORECASE if is_name else 0)
        return any(match[0][0].isupper() or not is_name for match in found)

    @property
    def may_be_word(self) -> bool:
        """Whether it is a word alone that begins the sentence."""
        return self.at_first and " " not in self.text

    def is_addressed(self, translation: str) -> bool:
        """Whether only its first word was translated, at the beginning of a sentence: "Hello Nakamura"."""
        first, _, name = self.text.partition(" ")
        found = re.match(rf"\W*(\w+) {re.escape(name)}(?!\w)", translation) if self.at_first and name else None
        return found is not None and not _sounds(found[1]).startswith(_sounds(first)[:TRACE])

    def has_trace(self, translation: str) -> bool:
        """Whether a word of a translation begins as it does."""
        begins = _sounds(self.text)[:TRACE]
        return any(_sounds(word).startswith(begins) for word in re.findall(r"\w+", translation))


class Losses:
    """Finds what translations lost.

    Args:
        src: The source's tokenizer.
        tgt: The target's.
        languages: The codes of source and target; where one is not known, numbers keep their marks.
    """

    def __init__(self, src: LineTokenizer, tgt: LineTokenizer, languages: tuple[str | None, str | None]) -> None:
        self._src, self._tgt, self._languages = src, tgt, languages
        self._numbers = Numbers(languages)
        self._n_pieces = functools.lru_cache(N_WORDS)(self._count_pieces)
        language = base_language(languages[0])
        # Words that are translated, however rare they are.
        self._known = {*MONTHS.get(language, ()), *WEEKDAYS.get(language, ())}
        self._has_k = base_language(languages[1]) in SPELT_WITH_K
        self._capitals_tell = language not in CAPITALIZING

    def expected(self, source: str) -> dict[ExpectedLiteral, list[Literal]]:
        """What of a sentence should stand in its translation, with its places."""
        dates = {(date.start, date.stop): date for date in find_dates(source, self._languages)}
        found = {
            ExpectedLiteral(LiteralKind.NUMBER, date.forms[0], date.forms[1:]): [
                Literal(LiteralKind.NUMBER, source[slice(*span)], span[0])
            ]
            for span, date in dates.items()
        }
        literals = (each for each in find_literals(source) if not any(overlap(each.span, span) for span in dates))
        for literal in self._with_whole_names(source, literals):
            if lost := self._expected(source, literal):
                found.setdefault(lost, []).append(literal)
        return found

    def find(self, source: str, translation: str) -> list[ExpectedLiteral]:
        """What of a sentence should stand in its translation, and does not."""
        return [lost for lost in self.expected(source) if self._misses(lost, translation)]

    def _with_whole_names(self, source: str, literals: Iterable[Literal]) -> list[Literal]:
        """The literals without words that are no names; names that follow one another are one, as "Ada Lovelace" is.

        The names that stand for placeholders are known to every model, and expected only as parts of such names.
        """
        found = list[Literal]()
        for literal in literals:
            is_name = literal.kind is LiteralKind.NAME or re.fullmatch(CAMEL_NAME, literal.text) is not None
            if literal.kind is LiteralKind.NAME and not self._is_name(source, literal.text):
                continue
            last = found[-1] if found and is_name else None
            if last and last.kind is LiteralKind.NAME and self._are_one(source[last.stop : literal.start]):
                found[-1] = Literal(LiteralKind.NAME, source[last.start : literal.stop], last.start)
            else:
                found.append(literal)
        return [literal for literal in found if literal.text not in NAMES]

    def _are_one(self, between: str) -> bool:
        return between == " " or (self._capitals_tell and re.fullmatch(PARTICLES, between) is not None)

    def _is_name(self, source: str, word: str) -> bool:
        may_be = (self._n_pieces(word) >= RARE and word not in self._known) or word in NAMES
        return may_be and _is_mostly_small(source)

    def _expected(self, source: str, literal: Literal) -> ExpectedLiteral | None:
        if literal.kind is LiteralKind.NUMBER:
            forms = self._numbers.expected(source, literal)
            return forms and ExpectedLiteral(literal.kind, forms.text, forms.others, words=forms.words)
        is_name = literal.kind is LiteralKind.NAME
        at_first = is_name and not re.search(r"\w", source[: literal.start])
        others = (re.sub("c(?![hk])", "k", literal.text),) if is_name and self._has_k else ()
        found = ExpectedLiteral(literal.kind, literal.text, others, at_first=at_first)
        if not is_name or self._capitals_tell:
            return found
        is_bare = re.search(BARE, source[: literal.start]) is not None
        return found._replace(is_bare=is_bare, may_be_noun=not is_bare)

    def _count_pieces(self, word: str) -> int:
        """Of how many pieces a word is, with a capital or without: "Neither" and "Monday" are frequent words."""
        return min(map(len, self._src.encode([word, word.lower()])))

    def _misses(self, lost: ExpectedLiteral, translation: str) -> bool:
        if self._tgt.unk_id in self._tgt.encode([lost.text])[0]:
            return False
        if lost.kind is LiteralKind.NUMBER:
            return not self._numbers.stands(NumberForms(lost.text, lost.others, lost.words), translation)
        if lost.kind is not LiteralKind.NAME or self._capitals_tell:
            return not (lost.stands(translation) or lost.is_addressed(translation))
        if lost.is_bare:
            return not lost.stands(translation)
        is_alike = re.search(rf"(?i)\b{re.escape(lost.text)}\b", translation) is not None  # Computer, computer
        return lost.has_trace(translation) and not is_alike


def _sounds(word: str) -> str:
    """The letters of a word without case and accents, and with one for those that languages exchange."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(filter(str.isalpha, plain)).translate(SOUNDS)


def _is_mostly_small(text: str) -> bool:
    """Whether words with a capital letter stand out, as they do not in titles and in capitals."""
    words = re.findall(r"[^\W\d_]+", text)
    capital = [word[0].isupper() for word in words]
    n_small = len(words) - sum(capital)
    n_runs = sum(now and not before for now, before in zip(capital, [False, *capital], strict=False))
    few = 2 * (sum(capital) - 1) <= len(words)  # the first one begins the sentence
    # Names of several words are as one word with a capital: "Angela Merkel met Emmanuel Macron".
    return (few or (n_runs - 1 <= n_small and sum(capital) - 1 <= 3 * n_small)) and not is_in_capitals(text)
