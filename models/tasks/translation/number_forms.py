"""The ways in which a target language may write a number of a source."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from heed.models.text.languages import base_language
from heed.models.text.literals import Literal
from heed.models.text.numbers import localized, separators

# Patterns are compiled where they are first used: a start with plain lines does without.
HALF_DAY = r"(?i)\s?([ap])\.?m\b"  # behind a time that may become one of 24 hours
CLOCK = r"(\d{1,2})(?::(\d{2}))?"
AMOUNT = r"[$€£¥]\s?\Z", r"\s?[$€£¥%]"  # around numbers that are not written in words
NAMED = r"(?:\A|[\s(])[^\W\d_a-zß-öø-ÿ]\w*[ -]\Z"  # a name in front of a number: Python 3.11
NEGATIVE = r"(?:\A|[\s(])[-\u2212]\Z"
# Beginnings of the words for numbers from 2 to 12, which are often written in words. What no word is known of may be.
_SPELT: Mapping[str, str] = {
    "de": "zwei|zwo|beid|paar drei|dritt vier|viert fünf sech sieb|siebt acht neun zehn elf zwölf|dutzend|mitt",
    "en": "two|second|twice|both|couple|pair three|third|thrice four fi six seven eight nin ten eleven "
    "twel|dozen|noon|midnight",
    "fr": "deu|second|double troi|tier quatr|quart cinq si sept huit neu dix onz douz|midi|minuit",
    "es": "dos|segund|amb tres|terc cuatr|cuart cinc|quint seis|sext siete|séptim ocho|octav "
    "nueve|noven diez|décim once|undécim doce|docena|duodécim|mediod|mediano",
}
SMALL = range(2, 13)
_HOURS: Mapping[str, str] = {"de": "{} Uhr", "fr": "{} heures", "es": "las {}"}


class NumberForms(NamedTuple):
    """The ways to write a number; a translation should have one of them."""

    text: str  # the usual one
    others: tuple[str, ...] = ()
    words: str | None = None  # regular expression of words that may stand for it; None: nobody knows them


class Numbers:
    """Finds numbers in translations.

    Args:
        languages: The codes of source and target; where one is not known, numbers keep their marks.
    """

    def __init__(self, languages: tuple[str | None, str | None]) -> None:
        marks = [separators(language) for language in languages]
        self._marks = (marks[0], marks[1]) if marks[0] and marks[1] else None
        tgt = base_language(languages[1])
        self._spelt, self._hours = _SPELT.get(tgt, "").split(), _HOURS.get(tgt, "{}")

    def expected(self, source: str, literal: Literal) -> NumberForms | None:
        """The ways to write a number of a source; None where nobody knows."""
        before, after = source[: literal.start], source[literal.stop :]
        if half := re.match(HALF_DAY, after):
            return self._of_24_hours(literal.text, half[1])
        text = localized(literal.text, *self._marks) if self._marks else literal.text
        if re.search(NEGATIVE, before):
            return NumberForms(f"-{text}", (f"\u2212{text}", f"\u2013{text}", f"minus {text}"), "")
        if text != literal.text and re.search(NAMED, before):  # a version, or an amount behind a word with a capital
            return NumberForms(text, (literal.text,), "")
        is_amount = re.search(AMOUNT[0], before) or re.match(AMOUNT[1], after)
        return NumberForms(text, (), "" if is_amount else self._words(text))

    def stands(self, number: NumberForms, translation: str) -> bool:
        """Whether a number stands in a translation, between thousands with marks or without, or may stand in words."""
        if number.words is None or (number.words and re.search(rf"(?i)(?<!\w)(?:{number.words})", translation)):
            return True
        if number.others or number.text.isdecimal():
            return any(_has_exactly(text, translation) for text in (number.text, *number.others))
        if re.search(r"[-/:]", number.text):  # a date or a time, of which the parts may change places
            parts = re.findall(r"\d+", number.text)
            return all(re.search(rf"(?<!\d)0?{int(part)}(?!\d)", translation) for part in parts)
        plain = number.text.replace(self._marks[1][0], "") if self._marks else number.text
        return _has_exactly(number.text, translation) or _has_exactly(plain, translation)

    def _words(self, number: str) -> str | None:
        """Words for a number, as `NumberForms` has them."""
        if not number.isdecimal() or int(number) > SMALL[-1]:
            return ""
        return self._spelt[int(number) - SMALL[0]] if self._spelt and int(number) in SMALL else None

    def _of_24_hours(self, time: str, half: str) -> NumberForms | None:
        """A time with "a.m." or "p.m.", which other languages count up to 24."""
        parts = re.fullmatch(CLOCK, time)
        if parts is None or not 1 <= int(parts[1]) <= len(SMALL) + 1:
            return None
        hour, minutes = int(parts[1]) % 12 + (12 if half in "pP" else 0), parts[2]
        hours = dict.fromkeys((str(hour), parts[1], f"{hour:02}"))
        if minutes is None:
            words = self._words(parts[1])
            found = words if words is None else "|".join([*hours, *([words] if words else [])])
            first, *others = map(self._hours.format, hours)
            return NumberForms(first, tuple(others), found)
        first, *others = [hour + mark + minutes for mark in ":." for hour in hours]
        return NumberForms(first, tuple(others), "")


def _has_exactly(number: str, translation: str) -> bool:
    return re.search(rf"(?<![\d.,:]){re.escape(number)}(?![.,:]?\d)", translation) is not None
