"""Translations that lost a number, an address, a code word or a name are searched again, with that required."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from heed.models.decoding.constraints import Phrase
from heed.models.tasks.translation import Translation
from heed.models.text.literals import Kind, find_literals
from heed.models.text.numbers import localized, separators
from heed.models.tokenizers.protocol import LineTokenizer

SPELT = 12  # numbers up to this one are often written as words
RARE = 3  # tokens, at least, of a name that is copied: those that are translated are frequent, with pieces of their own
HALF_DAY = re.compile(r"\s?[ap]\.?m\b", re.IGNORECASE)  # behind a time that may become one of 24 hours
CAPITALIZING = ("de", "lb")  # languages in which a capital letter tells no name
# By how many nats a repaired translation may be less likely than the first one, for each token that was required. With
# the default model of 0.1, names that English and German write alike cost up to 4.2, other words 2.2 to 17.
MARGIN = {Kind.NUMBER: 6.0, Kind.ADDRESS: 6.0, Kind.CODE: 6.0, Kind.NAME: 2.5}


@dataclasses.dataclass(frozen=True)
class Lost:
    """Something of a source that its translation should have, as the target writes it."""

    kind: Kind
    text: str


# The translations, best first, of some sentences, by their numbers, that have what is required of each.
Again = Callable[[Sequence[int], Sequence[Sequence[Phrase]]], list[list[Translation]]]


class Repair:
    """Finds what translations lost, and judges those of a second search.

    Args:
        src: The source's tokenizer.
        tgt: The target's.
        languages: The codes of source and target; where one is not known, numbers keep their marks.
        searches: Whether to search again, and not only tell what was lost.
    """

    def __init__(
        self, src: LineTokenizer, tgt: LineTokenizer, languages: tuple[str | None, str | None], *, searches: bool = True
    ) -> None:
        self._src, self._tgt, self._searches = src, tgt, searches
        marks = [separators(language) for language in languages]
        self._marks = (marks[0], marks[1]) if marks[0] and marks[1] else None
        self._names = (languages[0] or "").split("-")[0] not in CAPITALIZING

    def mend(self, sources: Sequence[str], found: list[list[Translation]], again: Again) -> None:
        """Put better translations in the place of those that lost something.

        Those that still lack it say so, but for names: these may rightly have been translated.

        Args:
            sources: Sentences.
            found: The translations of each, best first.
            again: Searches again.
        """
        lost = {i: missing for i, source in enumerate(sources) if (missing := self.lost(source, found[i][0].text))}
        sure = {
            i: some for i, missing in lost.items() if (some := [each for each in missing if each.kind is not Kind.NAME])
        }
        if self._searches:
            self._mend(lost, found, again)
            # What cannot be had with a name may be had without it.
            self._mend({i: some for i, some in sure.items() if not found[i][0].repaired}, found, again)
        for i, some in sure.items():
            left = tuple(each.text for each in some if not stands(each.text, found[i][0].text))
            found[i][0] = dataclasses.replace(found[i][0], lost=left)

    def _mend(self, lost: dict[int, list[Lost]], found: list[list[Translation]], again: Again) -> None:
        if not lost:
            return
        required = [[self._phrase(each) for each in missing] for missing in lost.values()]
        for (i, missing), best in zip(lost.items(), again(list(lost), required), strict=True):
            if self._is_better(best[0], found[i][0], missing):
                texts = tuple(each.text for each in missing)
                found[i] = [dataclasses.replace(each, repaired=texts) for each in best]

    def lost(self, source: str, translation: str) -> list[Lost]:
        """What of a sentence should stand in its translation, and does not."""
        found = []
        capitals_tell = self._names and _is_mostly_small(source)
        for literal in find_literals(source):
            text, missing = literal.text, False
            if literal.kind is Kind.NUMBER:
                if not HALF_DAY.match(source, literal.stop):
                    text = localized(text, *self._marks) if self._marks else text
                    missing = not self._has_number(text, translation)
            elif literal.kind is not Kind.NAME or (capitals_tell and self._is_rare(text)):
                missing = not stands(text, translation)
            if missing and self._tgt.unk_id not in self._tgt.encode([text])[0]:
                found.append(Lost(literal.kind, text))
        return list(dict.fromkeys(found))

    def _has_number(self, number: str, translation: str) -> bool:
        """Whether a number stands in a translation, between thousands with marks or without, or may stand in words."""
        if re.search(r"[-/:]", number):  # a date or a time, of which the parts may change places
            return all(re.search(rf"(?<!\d)0?{int(part)}(?!\d)", translation) for part in re.findall(r"\d+", number))
        if number.isdecimal() and int(number) <= SPELT:
            return True
        plain = number.replace(self._marks[1][0], "") if self._marks else number
        return re.search(rf"(?<![\d.,])({re.escape(number)}|{re.escape(plain)})(?![.,]?\d)", translation) is not None

    def _is_better(self, repaired: Translation, first: Translation, lost: Sequence[Lost]) -> bool:
        """Whether a translation has what the first one lost, at a price that is worth it."""
        if repaired.looped or not all(stands(each.text, repaired.text) for each in lost):
            return False
        allowed = sum(MARGIN[each.kind] * len(self._phrase(each)[0]) for each in lost)
        return first.log_prob - repaired.log_prob <= allowed

    def _phrase(self, lost: Lost) -> Phrase:
        """The tokens of what was lost, for a search that must put them out."""
        return [tuple(self._tgt.encode([lost.text])[0])]

    def _is_rare(self, word: str) -> bool:
        """Whether a word with a capital is a name that the model cannot translate; "Neither" and "Monday" are not."""
        written, small = (len(tokens) for tokens in self._src.encode([word, word.lower()]))
        return small >= written >= RARE


def stands(text: str, translation: str) -> bool:
    """Whether a text stands in a translation, as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", translation, re.IGNORECASE) is not None


def _is_mostly_small(text: str) -> bool:
    """Whether words with a capital letter stand out, as they do not in titles."""
    words = re.findall(r"[^\W\d_]+", text)
    return 2 * (sum(word[0].isupper() for word in words) - 1) <= len(words)  # the first one begins the sentence
