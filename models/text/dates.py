"""How languages write dates, with the month in words (Unicode CLDR 48, "long")."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from heed.models.text.languages import base_language

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
MONTHS: Mapping[str, list[str]] = {language: names.split() for language, names in _MONTHS.items()}
_WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonnabend Sonntag",
}
WEEKDAYS: Mapping[str, list[str]] = {language: names.split() for language, names in _WEEKDAYS.items()}  # with capitals
DAY, YEAR = r"(?P<day>[1-9]|[12]\d|3[01])", r"(?P<year>[12]\d{3})"
# What a source may have. "M" is a month.
_READ: Mapping[str, tuple[str, ...]] = {
    "en": (
        rf"(?P<month>M) {DAY}(?:st|nd|rd|th)?(?:,? {YEAR})?",
        rf"{DAY}(?:st|nd|rd|th)? (?P<month>M)(?:,? {YEAR})?",
        rf"(?P<day>)(?P<month>M),? {YEAR}",
    ),
    "de": (rf"{DAY}\. (?P<month>M)(?: {YEAR})?", rf"(?P<day>)(?P<month>M) {YEAR}"),
    "fr": (rf"{DAY}(?:er)? (?P<month>M)(?: {YEAR})?", rf"(?P<day>)(?P<month>M) {YEAR}"),
    "es": (rf"{DAY} de (?P<month>M)(?: de {YEAR})?", rf"(?P<day>)(?P<month>M)(?: de)? {YEAR}"),
}
# What a target has, the usual form first: of a day and a month, with a year, and without the day.
_WRITTEN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        ("{month} {day}", "{day} {month}"),
        ("{month} {day}, {year}", "{day} {month} {year}"),
        ("{month} {year}", "{month}, {year}"),
    ),
    "de": (
        ("{day}. {month}", "{day}.{n}."),
        ("{day}. {month} {year}", "{day}.{n}.{year}", "{day:02}.{n:02}.{year}"),
        ("{month} {year}", "{n}/{year}"),
    ),
    "fr": (("{day} {month}",), ("{day} {month} {year}",), ("{month} {year}",)),
    "es": (("{day} de {month}",), ("{day} de {month} de {year}",), ("{month} de {year}", "{month} {year}")),
}


class Date(NamedTuple):
    """A date in a text."""

    start: int  # in characters
    stop: int
    forms: tuple[str, ...]  # how the target language may write it, the usual one first


def find_dates(text: str, languages: tuple[str | None, str | None]) -> Iterator[Date]:
    """The dates of a text with their months in words; none where a language is not known here.

    Args:
        text: A text.
        languages: The codes of the text's language, and of the one to write the dates in.
    """
    if not re.search(r"\d", text):
        return
    src, tgt = map(base_language, languages)
    if src not in MONTHS or tgt not in MONTHS:
        return
    end = 0
    for match in sorted(_matches(text, src), key=lambda match: (match.start(), -match.end())):
        if match.start() >= end:
            number = MONTHS[src].index(match["month"])
            facts = {
                "day": int(match["day"] or 0),
                "month": MONTHS[tgt][number],
                "n": number + 1,
                "year": match["year"],
            }
            forms = _WRITTEN[tgt][0 if match["year"] is None else 1 if match["day"] else 2]
            yield Date(match.start(), match.end(), tuple(form.format(**facts) for form in forms))
            end = match.end()


def _matches(text: str, language: str) -> Iterator[re.Match[str]]:
    months = "|".join(MONTHS[language])
    for pattern in _READ[language]:
        yield from re.finditer(rf"(?<![\w.,:/-]){pattern.replace('M)', months + ')')}(?![\w:/-])", text)
