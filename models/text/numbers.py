"""How languages write numbers."""

import re
from collections.abc import Mapping

from heed.models.text.languages import base_language

# The mark between thousands and the one before decimals (Unicode CLDR 48, "standard").
_ENGLISH, _GERMAN, _FRENCH, _RUSSIAN = (",", "."), (".", ","), ("\u202f", ","), ("\u00a0", ",")
SEPARATORS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("en", "ja", "zh", "ko", "he", "th", "hi"), _ENGLISH),
    **dict.fromkeys(("de", "nl", "es", "it", "pt", "da", "el", "ro", "tr", "id", "hr", "sl"), _GERMAN),
    "fr": _FRENCH,
    **dict.fromkeys(("ru", "uk", "pl", "cs", "sk", "bg", "fi", "sv", "nb", "no", "hu", "et", "lt", "lv"), _RUSSIAN),
}


def separators(language: str | None) -> tuple[str, str] | None:
    """The mark between thousands and the one before decimals; None where the language is not known here.

    Args:
        language: Its code, with or without a country: "de", "de-AT", "pt_BR".
    """
    return SEPARATORS.get(base_language(language))


def digits_of(text: str) -> str:
    """The digits of a text, one after another."""
    return re.sub(r"\D", "", text)


def with_digits(text: str, digits: str) -> str:
    """A text with other digits in the places of its own, of which it has as many."""
    rest = iter(digits)
    return re.sub(r"\d", lambda _: next(rest), text)


def localized(number: str, source: tuple[str, str], target: tuple[str, str]) -> str:
    """A number with the separators of another language: 1,250.5 as 1.250,5.

    Both marks mean one thing: "1,250" is written by whole thousands, "12.5" is not. What is no such number (a time,
    a version) stays as it is.
    """
    thousands, decimal = map(re.escape, source)
    if not re.fullmatch(rf"(\d+|\d{{1,3}}({thousands}\d{{3}})+)({decimal}\d+)?", number):
        return number
    marks = dict(zip(source, target, strict=True))
    return "".join(marks.get(character, character) for character in number)
