"""Pairs made from patterns: dates, times, prices, counts, names, lists, files, addresses, in both languages."""

import re
from pathlib import Path
from random import Random

from heed.models.text.numbers import SEPARATORS
from heed.transformer.data.augmentation.replacements import ReplacementSampler

HERE = Path(__file__).parent
MONTHS = (
    ("January", "Januar"),
    ("February", "Februar"),
    ("March", "März"),
    ("April", "April"),
    ("May", "Mai"),
    ("June", "Juni"),
    ("July", "Juli"),
    ("August", "August"),
    ("September", "September"),
    ("October", "Oktober"),
    ("November", "November"),
    ("December", "Dezember"),
)  # fmt: skip
CURRENCIES = (("{} euros", "{} Euro"), ("€{}", "{} €"), ("${}", "{} $"), ("{} dollars", "{} Dollar"), ("£{}", "{} £"))
Sides = tuple[str, str]  # English and German


class Maker:
    """Fills patterns by random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._patterns = [_row(line) for line in _lines("sentences.tsv")]
        self._words: dict[str, list[Sides]] = {}
        for line in _lines("words.tsv"):
            kind, english, *german = line.split("\t")
            self._words.setdefault(kind, []).append((english, german[0] if german else english))
        names = [part for kind in ("place", "first", "last") for pair in self._words[kind] for part in pair[0].split()]
        self._replacements = ReplacementSampler([name for name in names if len(name) > 3], ("en", "de"))

    def pair(self) -> Sides:
        """A sentence and its translation."""
        english, german = self._random.choice(self._patterns)
        filled = {i: self._fill(slot) for i, slot in enumerate(re.findall(r"\{(\w+)\}", english))}
        # Slots of one kind stand in the same order on both sides.
        return _filled(english, english, filled, 0).replace("m..", "m."), _filled(german, english, filled, 1)

    def _fill(self, slot: str) -> Sides:
        made = getattr(self, f"_{slot}", None)
        return made() if made else self._random.choice(self._words[slot])

    def _date(self) -> Sides:
        draw = self._random
        (english, german), day, year = draw.choice(MONTHS), draw.randint(1, 31), self._year()[0]
        suffix = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        form = draw.random()
        if form < 0.15:
            return f"{english} {day}{suffix}", f"{day}. {german}"
        if form < 0.3:
            return f"{english} {day}", f"{day}. {german}"
        if form < 0.5:
            return f"{day} {english} {year}", f"{day}. {german} {year}"
        if form < 0.6:
            return f"{year}-{day % 12 + 1:02}-{day:02}", f"{year}-{day % 12 + 1:02}-{day:02}"
        return f"{english} {day}, {year}", f"{day}. {german} {year}"

    def _time(self) -> Sides:
        hour, minute = self._random.randint(0, 23), self._random.randint(0, 59)
        if self._random.random() < 0.5:
            return f"{hour}:{minute:02}", f"{hour}:{minute:02}"
        half = self._random.choice((("a.m.", "p.m."), ("am", "pm"), ("AM", "PM")))[hour >= 12]
        return f"{(hour - 1) % 12 + 1}:{minute:02} {half}", f"{hour}:{minute:02}"

    def _price(self) -> Sides:
        whole = self._random.randint(2, 10 ** self._random.randint(1, 7))
        cents = f"{self._random.randint(0, 99):02}" if self._random.random() < 0.4 else ""
        english, german = self._random.choice(CURRENCIES)
        return english.format(_number(whole, cents, "en")), german.format(_number(whole, cents, "de"))

    def _count(self) -> Sides:
        whole = self._random.randint(2, 10 ** self._random.randint(1, 8))
        return _both(str(whole)) if whole < 1000 else (_number(whole, "", "en"), _number(whole, "", "de"))

    def _decimal(self) -> Sides:
        whole, rest = self._random.randint(0, 10 ** self._random.randint(1, 3)), str(self._random.randint(1, 99))
        return _number(whole, rest, "en"), _number(whole, rest, "de")

    def _small(self) -> Sides:
        return _both(str(self._random.randint(2, 99)))

    def _year(self) -> Sides:
        return _both(str(self._random.randint(1100 if self._random.random() < 0.3 else 1900, 2060)))

    def _place(self) -> Sides:
        made = self._random.random() < 0.4
        return _both(self._replacements.name(self._random)) if made else self._random.choice(self._words["place"])

    def _person(self) -> Sides:
        parts = [self._part("first"), self._part("last")]
        return _both(" ".join(parts[self._random.randint(0, 1) :]))

    def _part(self, kind: str) -> str:
        made = self._random.random() < 0.5
        return self._replacements.made_name(self._random) if made else self._random.choice(self._words[kind])[0]

    def _people(self) -> Sides:
        return _listed([self._person() for _ in range(self._random.randint(2, 4))])

    def _places(self) -> Sides:
        return _listed([self._place() for _ in range(self._random.randint(2, 5))])

    def _file(self) -> Sides:
        return _both(self._replacements.file(self._random))

    def _url(self) -> Sides:
        return _both(self._replacements.url(self._random))

    def _mail(self) -> Sides:
        return _both(self._replacements.mail(self._random))

    def _code(self) -> Sides:
        return _both(self._replacements.code_word(self._random))

    def _version(self) -> Sides:
        return _both(".".join(str(self._random.randint(0, 30)) for _ in range(self._random.randint(2, 3))))

    def _phone(self) -> Sides:
        digits = "".join(self._random.choices("0123456789", k=self._random.randint(6, 9)))
        return _both(self._random.choice(("+49 30 {}", "0{}", "{}", "+1 {}")).format(digits))


def _filled(pattern: str, english: str, filled: dict[int, Sides], side: int) -> str:
    slots = [(slot, filled[i][side]) for i, slot in enumerate(re.findall(r"\{(\w+)\}", english))]
    for slot, text in slots:
        pattern = pattern.replace("{" + slot + "}", text, 1)
    return pattern


def _listed(things: list[Sides]) -> Sides:
    english, german = ([thing[side] for thing in things] for side in range(2))
    return f"{', '.join(english[:-1])} and {english[-1]}", f"{', '.join(german[:-1])} und {german[-1]}"


def _both(text: str) -> Sides:
    return text, text


def _number(whole: int, decimals: str, language: str) -> str:
    thousands, decimal = SEPARATORS[language]
    return f"{whole:,}".replace(",", thousands) + (decimal + decimals if decimals else "")


def _row(line: str) -> Sides:
    english, german = line.split("\t")
    return english, german


def _lines(name: str) -> list[str]:
    return (HERE / name).read_text("utf-8").splitlines()
