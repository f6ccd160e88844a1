"""Other names, numbers, addresses and code words, drawn at random."""

import re
import string
from collections.abc import Callable, Sequence
from random import Random

from heed.models.text.literals import Literal, LiteralKind
from heed.models.text.numbers import digits_of, separators, with_digits
from heed.transformer.data.augmentation.shared_literals import GENITIVE, SharedLiteral

ENDINGS = ("com", "org", "net", "de", "eu", "io", "co.uk", "info")
SUFFIXES = ("pdf", "txt", "jpg", "png", "csv", "docx", "zip", "py", "html", "mp3", "json", "tar.gz", "xlsx", "log")
PATHS = ("/home/", "/var/", "~/", "/etc/", "./", "")
FULL, FOREIGN = 0.2, 0.1  # of replaced names, how many get two parts, and how many become something of another kind
MADE = 0.5  # of names, how many are made and not taken from the corpus
SMALL = 31  # days, hours and ages, which are counted and ordered by words of their own
REFORMED = 0.4  # of plain numbers, how many get separators, where those of both languages are known

Sides = tuple[str, str]  # the same thing as the source and as the target writes it


class ReplacementSampler:
    """Draws something in the place of what both sides of a pair have.

    Args:
        names: Those of the corpus.
        languages: The codes of source and target; where one is not known, numbers keep the marks that they have.
    """

    def __init__(self, names: Sequence[str], languages: tuple[str, str]) -> None:
        self._names = names or ["Anna", "Berlin"]
        marks = [separators(language) for language in languages]
        self._marks = (marks[0], marks[1]) if marks[0] and marks[1] else None
        self._followers = _followers(self._names)

    def replacement(self, thing: SharedLiteral, random: Random) -> list[list[str]]:
        """What to write in each place of a thing, of the source and of the target."""
        if thing.kind is LiteralKind.NUMBER:
            return self._number(thing, random)
        if thing.kind is LiteralKind.NAME and random.random() >= FOREIGN:
            new = self.name(random)
        else:
            new = random.choice(FOREIGN_KINDS if thing.kind is LiteralKind.NAME else MAKERS[thing.kind])(self, random)
        if any(_is_genitive(place, thing) for place in thing.sides[1]):
            new = new if new[-1].isalpha() and new[-1].lower() not in "szxß" else new + "o"
        return [[new + _tail(place, thing, side) for place in places] for side, places in enumerate(thing.sides)]

    def name(self, random: Random) -> str:
        """A name of one part or of two."""
        return " ".join(self._part(random) for _ in range(2 if random.random() < FULL else 1))

    def _part(self, random: Random) -> str:
        return self.made_name(random) if random.random() < MADE else random.choice(self._names)

    def made_name(self, random: Random) -> str:
        """A word in which each letter follows the two before it as in some name of the corpus."""
        name = random.choice(self._names)[:2]
        length = random.randint(4, 10)
        while len(name) < length and (after := self._followers.get(name[-2:].lower())):
            name += random.choice(after)
        return name if len(name) > 2 else random.choice(self._names)

    def _number(self, thing: SharedLiteral, random: Random) -> list[list[str]]:
        places = [[place.text for place in side] for side in thing.sides]
        digits = digits_of(places[0][0])
        if digits == "1":  # what is one stands in the singular
            return places
        if all(text.isdecimal() for side in places for text in side) and len(digits) != 4:  # which may be years
            new = self._plain_number(len(digits), random)
            return [[new[side]] * len(texts) for side, texts in enumerate(places)]
        digits = _other_digits(places[0][0], random)
        return [[with_digits(text, digits) for text in side] for side in places]

    def _plain_number(self, n_digits: int, random: Random) -> Sides:
        if self._marks is None or n_digits < 3 or random.random() >= REFORMED:
            low, high = max(1, n_digits - 1), n_digits + 1
            number = str(random.randint(2, SMALL if n_digits < 3 else 10 ** random.randint(low, high)))
            return number, number
        whole = random.randint(2, 10 ** random.randint(1, 7))
        decimals = "" if random.random() < 0.5 else f"{random.randint(1, 99):02}"[: random.randint(1, 2)]
        return _marked(whole, decimals, self._marks[0]), _marked(whole, decimals, self._marks[1])

    def code_word(self, random: Random) -> str:
        """Such as KX-4821."""
        letters = "".join(random.choices(string.ascii_uppercase, k=random.randint(1, 4)))
        digits = "".join(random.choices(string.digits, k=random.randint(1, 5)))
        return letters + random.choice(("", "", "-", "_")) + digits

    def identifier(self, random: Random) -> str:
        """Such as first_name, firstName, --name."""
        words = [self.made_name(random).lower() for _ in range(2)]
        return random.choice((f"{words[0]}_{words[1]}", f"{words[0]}{words[1].capitalize()}", f"--{words[0]}"))

    def file(self, random: Random) -> str:
        """Such as ~/notes_3.txt."""
        stem = self.made_name(random)
        stem = stem if random.random() < 0.3 else stem.lower()
        number = random.choice(("", "", f"_{random.randint(1, 2030)}", f"-v{random.randint(2, 9)}"))
        return f"{random.choice(PATHS)}{stem}{number}.{random.choice(SUFFIXES)}"

    def domain(self, random: Random) -> str:
        """Such as example.com."""
        stem = "-".join(self.made_name(random).lower() for _ in range(random.randint(1, 2)))
        return f"{_ascii(stem)}.{random.choice(ENDINGS)}"

    def url(self, random: Random) -> str:
        """Such as https://www.example.com/7."""
        path = random.choice(("", "", f"/{self.made_name(random).lower()}", f"/{random.randint(2, 9999)}"))
        return random.choice(("https://", "http://", "https://www.", "www.")) + self.domain(random) + _ascii(path)

    def mail(self, random: Random) -> str:
        """Such as someone@example.com."""
        user = random.choice((".", "_", "")).join(self.made_name(random).lower() for _ in range(random.randint(1, 2)))
        return f"{_ascii(user)}@{self.domain(random)}"


Maker = Callable[[ReplacementSampler, Random], str]
_CODES: tuple[Maker, ...] = (ReplacementSampler.code_word, ReplacementSampler.identifier, ReplacementSampler.file)
_ADDRESSES: tuple[Maker, ...] = (ReplacementSampler.url, ReplacementSampler.mail, ReplacementSampler.domain)
MAKERS: dict[LiteralKind, tuple[Maker, ...]] = {LiteralKind.CODE: _CODES, LiteralKind.ADDRESS: _ADDRESSES}
FOREIGN_KINDS = _CODES + _ADDRESSES


def _followers(names: Sequence[str]) -> dict[str, str]:
    """The letters that follow each two letters in some names."""
    found: dict[str, str] = {}
    for name in names:
        for i in range(len(name) - 2):
            pair = name[i : i + 2].lower()
            found[pair] = found.get(pair, "") + name[i + 2]
    return found


def _is_genitive(place: Literal, thing: SharedLiteral) -> bool:
    return thing.kind is LiteralKind.NAME and len(place.text) > len(thing.sides[0][0].text)


def _tail(place: Literal, thing: SharedLiteral, side: int) -> str:
    return GENITIVE if side and _is_genitive(place, thing) else ""


def _other_digits(number: str, random: Random) -> str:
    """As many digits as a number with separators has; those of dates and times stay in their bounds."""
    parts = re.findall(r"\d+", number)
    if ":" in number:
        drawn = [random.randint(0, 59 if i else 23) for i in range(len(parts))]
    elif len(parts) > 2 and all(len(part) in (1, 2, 4) for part in parts):
        drawn = [
            random.randint(1, 9 if len(part) == 1 else 28) if len(part) < 3 else _as_long(part, random)
            for part in parts
        ]
    else:
        drawn = [_as_long(part, random) for part in parts]
    return "".join(str(new % 10 ** len(part)).zfill(len(part)) for new, part in zip(drawn, parts, strict=True))


def _as_long(part: str, random: Random) -> int:
    if len(part) == 4:  # most are years
        return random.randint(1500, 2099) if random.random() < 0.7 else random.randint(1000, 9999)
    return random.randint(10 ** (len(part) - 1), 10 ** len(part) - 1)


def _marked(whole: int, decimals: str, marks: tuple[str, str]) -> str:
    return f"{whole:,}".replace(",", marks[0]) + (marks[1] + decimals if decimals else "")


def _ascii(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]", "", text) or "x"
