"""What a model keeps of what must be kept, English to German: names, places, numbers, dates, prices, files and so on.

    python tests/benchmarks/keeping.py [OPTIONS of heed translate, as -m MODEL --no-repair]

Lines are drawn by a seed from other patterns and words than those that training text is made from
(default_model/sentences.tsv and words.tsv). A line counts where its translation has all that it must have: a name as it
is, a number with German marks. Prints the share by kind; the last line is JSON. --show prints the lines that lack
something.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

HEED = str(Path(sys.executable).with_name("heed"))
SEED = 1706
N_LINES = 20  # of a kind
FIRST_NAMES = [
    "Elif", "Kwame", "Siobhan", "Yuki", "Matteo", "Zofia", "Bjørn", "Priya", "Nadia", "Oksana", "Thabo", "Renée",
    "Iker", "Svetlana", "Hamish", "Leila", "Joaquín", "Mirela",
]  # fmt: skip
LAST_NAMES = [
    "Yilmaz", "Mensah", "Walsh", "Watanabe", "Conti", "Wiśniewska", "Haugen", "Raman", "Haddad", "Melnyk",
    "Dlamini", "Lefèvre", "Etxeberria", "Orlova", "Campbell", "McAllister", "D'Angelo", "Nakamura", "Szczepański",
    "van Dijk",
]  # fmt: skip
PLACES = [
    "Bristol", "Ottawa", "Perth", "Zagreb", "Rotterdam", "Dresden", "Stuttgart", "Tallinn", "Riga", "Malmö",
    "Bilbao", "Montevideo", "Osaka", "Nagoya", "Jakarta", "Linz", "Basel", "Kigali", "Salamanca", "Aberdeen",
    "Innsbruck", "Wellington", "San Francisco", "Porto Alegre",
]  # fmt: skip
MONTHS = {
    "January": "Januar",
    "March": "März",
    "May": "Mai",
    "June": "Juni",
    "July": "Juli",
    "October": "Oktober",
    "December": "Dezember",
}

Line = tuple[str, list[str]]  # a sentence, and regular expressions that its translation must match


def pick(draw: Random, patterns: str, **words: str) -> str:
    return draw.choice(patterns.strip().split("\n")).strip().format(**words)


def exactly(text: str) -> str:
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def first_name(draw: Random) -> Line:
    name = draw.choice(FIRST_NAMES)
    patterns = """{name} forgot the keys again.
        Did {name} tell you about it?
        We should ask {name} first.
        I think {name} is right.
        Where did {name} put the umbrella?"""
    return pick(draw, patterns, name=name), [exactly(name)]


def full_name(draw: Random) -> Line:
    name = f"{draw.choice(FIRST_NAMES)} {draw.choice(LAST_NAMES)}"
    patterns = """The new teacher is called {name}.
        {name} wrote this song.
        Have you met {name} before?
        This picture was painted by {name}.
        Ask {name} for the keys."""
    return pick(draw, patterns, name=name), [exactly(name)]


def place(draw: Random) -> Line:
    city = draw.choice(PLACES)
    patterns = """I grew up in {city}.
        It rains a lot in {city}.
        My sister is moving to {city} next week.
        The road to {city} is closed.
        Do you like {city}?"""
    return pick(draw, patterns, city=city), [exactly(city)]


def cities(draw: Random) -> Line:
    chosen = draw.sample(PLACES, draw.randint(2, 4))
    listed = ", ".join(chosen[:-1]) + " and " + chosen[-1]
    patterns = """We have friends in {listed}.
        I want to see {listed}.
        Trains run between {listed}.
        Last summer we travelled through {listed}."""
    return pick(draw, patterns, listed=listed), [exactly(city) for city in chosen]


def names(draw: Random) -> Line:
    chosen = draw.sample(FIRST_NAMES, draw.randint(2, 4))
    listed = ", ".join(chosen[:-1]) + " and " + chosen[-1]
    patterns = """{listed} were late again.
        The prize goes to {listed}.
        I had dinner with {listed}.
        Tell {listed} to wait."""
    return pick(draw, patterns, listed=listed), [exactly(name) for name in chosen]


def number(draw: Random) -> Line:
    n = draw.randint(13, 10 ** draw.randint(2, 3))
    patterns = """I counted {n} sheep.
        Only {n} people answered.
        Turn to page {n}.
        There are {n} steps to the top.
        He scored {n} points."""
    return pick(draw, patterns, n=str(n)), [exactly(str(n))]


def thousands(draw: Random) -> Line:
    n = draw.randint(1001, 10 ** draw.randint(4, 7))
    patterns = """The library owns {n} books.
        Nearly {n} soldiers were there.
        The stadium seats {n} fans.
        They planted {n} trees."""
    german = f"{n:,}".replace(",", r"[.\s]?")
    return pick(draw, patterns, n=f"{n:,}"), [rf"(?<!\w){german}(?!\w)"]


def decimal(draw: Random) -> Line:
    n = f"{draw.randint(0, 90)}.{draw.randint(1, 99)}"
    patterns = """The film is rated {n} out of ten.
        Light travels that far in {n} seconds.
        The baby weighed {n} kilos.
        Sales grew by {n} percent."""
    return pick(draw, patterns, n=n), [exactly(n.replace(".", ","))]


def date(draw: Random) -> Line:
    month, day, year = draw.choice(list(MONTHS)), draw.randint(1, 28), draw.randint(1850, 2030)
    patterns = """The war ended on {month} {day}, {year}.
        Her passport expires on {month} {day}, {year}.
        I wrote this on {day} {month} {year}.
        They married on {month} {day}, {year}."""
    required = rf"(?<!\d)0?{day}\.\s?({MONTHS[month]}|\d\d?\.)\s?{year}(?!\d)"
    return pick(draw, patterns, month=month, day=str(day), year=str(year)), [required]


def time(draw: Random) -> Line:
    hour, minute = draw.randint(0, 23), draw.randint(0, 59)
    written = f"{hour}:{minute:02}"
    if draw.random() < 0.4:
        written = f"{(hour - 1) % 12 + 1}:{minute:02} {'p.m.' if hour >= 12 else 'a.m.'}"
    patterns = """The alarm went off at {t} today.
        Lunch starts at {t} sharp.
        It is {t} now.
        The last ferry left at {t} yesterday."""
    either = (
        rf"0?{hour}[:.]{minute:02}|0?{(hour - 1) % 12 + 1}[:.]{minute:02}"
        if "m." in written
        else rf"0?{hour}[:.]{minute:02}"
    )
    return pick(draw, patterns, t=written), [rf"(?<!\d)({either})(?!\d)"]


def price(draw: Random) -> Line:
    whole, cents = draw.randint(2, 10 ** draw.randint(1, 5)), draw.choice(("", f".{draw.randint(10, 99)}"))
    n = f"{whole:,}{cents}"
    patterns = """This lamp costs ${n}.
        We spent {n} euros on food.
        The fine is €{n}.
        A night here is {n} dollars."""
    german = n.replace(",", "#").replace(".", ",").replace("#", r"[.\s]?")
    return pick(draw, patterns, n=n), [rf"(?<![\d.,]){german}(?!\d)"]


def capitals(draw: Random) -> Line:
    name, n = draw.choice(FIRST_NAMES).upper(), str(draw.randint(2, 99))
    patterns = """CALL {name} AT ONCE.
        DO NOT OPEN DOOR {n}.
        {name} IS WAITING OUTSIDE.
        BUS {n} IS LATE.
        THE SHOP OPENS IN {n} MINUTES."""
    line = pick(draw, patterns, name=name, n=n)
    return line, [rf"(?i){exactly(thing)}" for thing in (name, n) if thing in line]


def file(draw: Random) -> Line:
    stem = draw.choice(("holiday_photos", "budget-2031", "Lebenslauf", "thesis_v4", "setup", "minutes_07", "IMG_2219"))
    name = f"{stem}.{draw.choice(('odt', 'mp4', 'xls', 'svg', 'tex', 'cpp', 'bak', 'jpeg'))}"
    patterns = """Please print {name} twice.
        Where did you put {name}?
        My laptop lost {name}.
        Send me {name} tonight."""
    return pick(draw, patterns, name=name), [exactly(name)]


def address(draw: Random) -> Line:
    host = draw.choice(("rosenhof.at", "blue-kettle.net", "citylibrary.org", "meteo24.ch", "pinewood.shop"))
    url = draw.choice(
        (f"https://{host}/menu", f"www.{host}", f"info@{host}", f"http://{host}/a/17?x=2", f"j.doe@{host}")
    )
    patterns = """The recipe is at {url}.
        I got a mail about {url}.
        Please look at {url} before noon.
        Our contact is {url}."""
    return pick(draw, patterns, url=url), [re.escape(url)]


def code(draw: Random) -> Line:
    word = draw.choice(
        ("QX-7731", "B2B", "ISO-8859-1", "getUserName", "max_retries", "AX410", "MP3", "T-1000", "RFC2119")
    )
    patterns = """The label says {word}.
        Nobody understands {word} here.
        Replace {word} with something else.
        We talked about {word} all day."""
    return pick(draw, patterns, word=word), [exactly(word)]


KINDS: tuple[Callable[[Random], Line], ...] = (
    first_name,
    full_name,
    place,
    cities,
    names,
    number,
    thousands,
    decimal,
    date,
)
KINDS += (time, price, capitals, file, address, code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=SEED, help="of the lines")
    parser.add_argument("--show", action="store_true", help="print the lines that lack something")
    arguments, options = parser.parse_known_args()
    draw = Random(arguments.seed)
    lines = [(kind.__name__, *kind(draw)) for kind in KINDS for _ in range(N_LINES)]
    text = "".join(line + "\n" for _, line, _ in lines)
    translated = subprocess.run([HEED, "translate", *options], input=text, capture_output=True, text=True, check=True)
    kept: dict[str, int] = {}
    for (kind, line, required), found in zip(lines, translated.stdout.split("\n"), strict=False):
        keeps = all(re.search(pattern, found) for pattern in required)
        kept[kind] = kept.get(kind, 0) + keeps
        if arguments.show and not keeps:
            print(f"{kind}\t{line}\t{found}")
    print(translated.stderr, end="", file=sys.stderr)
    shares = {kind: round(100 * n / N_LINES) for kind, n in kept.items()}
    for kind, share in shares.items():
        print(f"{kind.replace('_', ' '):12} {share:4} %")
    print(json.dumps({"all": round(100 * sum(kept.values()) / len(lines), 1), **shares}))


if __name__ == "__main__":
    main()
