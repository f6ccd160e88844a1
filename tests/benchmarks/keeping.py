"""What a model keeps of what must be kept: names, places, numbers, dates, prices, files and so on.

    python tests/benchmarks/keeping.py [--from de] [OPTIONS of heed translate, as -m MODEL --no-repair]

Lines, English for German or German for English, are drawn by a seed from other patterns and words than those that
training text is made from (default_model/sentences.tsv and words.tsv). A line counts where its translation has all that
it must have: a name as it is, a number with the marks of its language. Prints the share by kind; the last line is JSON.
--show prints the lines that lack something.
"""

import argparse
import json
import re
import subprocess
import sys
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
MONTHS = [
    ("January", "Januar"),
    ("March", "März"),
    ("May", "Mai"),
    ("June", "Juni"),
    ("July", "Juli"),
    ("October", "Oktober"),
    ("December", "Dezember"),
]
PATTERNS = {
    "en": {
        "first_name": """{name} forgot the keys again.
            Did {name} tell you about it?
            We should ask {name} first.
            I think {name} is right.
            Where did {name} put the umbrella?""",
        "full_name": """The new teacher is called {name}.
            {name} wrote this song.
            Have you met {name} before?
            This picture was painted by {name}.
            Ask {name} for the keys.""",
        "place": """I grew up in {city}.
            It rains a lot in {city}.
            My sister is moving to {city} next week.
            The road to {city} is closed.
            Do you like {city}?""",
        "cities": """We have friends in {listed}.
            I want to see {listed}.
            Trains run between {listed}.
            Last summer we travelled through {listed}.""",
        "names": """{listed} were late again.
            The prize goes to {listed}.
            I had dinner with {listed}.
            Tell {listed} to wait.""",
        "number": """I counted {n} sheep.
            Only {n} people answered.
            Turn to page {n}.
            There are {n} steps to the top.
            He scored {n} points.""",
        "thousands": """The library owns {n} books.
            Nearly {n} soldiers were there.
            The stadium seats {n} fans.
            They planted {n} trees.""",
        "decimal": """The film is rated {n} out of ten.
            Light travels that far in {n} seconds.
            The baby weighed {n} kilos.
            Sales grew by {n} percent.""",
        "date": """The war ended on {month} {day}, {year}.
            Her passport expires on {month} {day}, {year}.
            I wrote this on {day} {month} {year}.
            They married on {month} {day}, {year}.""",
        "time": """The alarm went off at {t} today.
            Lunch starts at {t} sharp.
            It is {t} now.
            The last ferry left at {t} yesterday.""",
        "price": """This lamp costs ${n}.
            We spent {n} euros on food.
            The fine is €{n}.
            A night here is {n} dollars.""",
        "capitals": """CALL {name} AT ONCE.
            DO NOT OPEN DOOR {n}.
            {name} IS WAITING OUTSIDE.
            BUS {n} IS LATE.
            THE SHOP OPENS IN {n} MINUTES.""",
        "file": """Please print {name} twice.
            Where did you put {name}?
            My laptop lost {name}.
            Send me {name} tonight.""",
        "address": """The recipe is at {url}.
            I got a mail about {url}.
            Please look at {url} before noon.
            Our contact is {url}.""",
        "code": """The label says {word}.
            Nobody understands {word} here.
            Replace {word} with something else.
            We talked about {word} all day.""",
    },
    "de": {
        "first_name": """{name} hat wieder die Schlüssel vergessen.
            Hat {name} dir davon erzählt?
            Wir sollten zuerst {name} fragen.
            Ich glaube, {name} hat recht.
            Wo hat {name} den Regenschirm hingestellt?""",
        "full_name": """Die neue Lehrerin heißt {name}.
            {name} hat dieses Lied geschrieben.
            Hast du {name} schon kennengelernt?
            Dieses Bild wurde von {name} gemalt.
            Frag {name} nach den Schlüsseln.""",
        "place": """Ich bin in {city} aufgewachsen.
            In {city} regnet es viel.
            Meine Schwester zieht nächste Woche nach {city}.
            Die Straße nach {city} ist gesperrt.
            Gefällt dir {city}?""",
        "cities": """Wir haben Freunde in {listed}.
            Ich möchte {listed} sehen.
            Es gibt Züge zwischen {listed}.
            Letzten Sommer sind wir durch {listed} gereist.""",
        "names": """{listed} kamen wieder zu spät.
            Der Preis geht an {listed}.
            Ich habe mit {listed} zu Abend gegessen.
            Sag {listed}, sie sollen warten.""",
        "number": """Ich habe {n} Schafe gezählt.
            Nur {n} Leute haben geantwortet.
            Schlagt Seite {n} auf.
            Bis oben sind es {n} Stufen.
            Er hat {n} Punkte geholt.""",
        "thousands": """Die Bibliothek hat {n} Bücher.
            Fast {n} Soldaten waren dort.
            Das Stadion fasst {n} Zuschauer.
            Sie haben {n} Bäume gepflanzt.""",
        "decimal": """Der Film hat {n} von zehn Punkten.
            So weit kommt das Licht in {n} Sekunden.
            Das Baby wog {n} Kilo.
            Der Umsatz stieg um {n} Prozent.""",
        "date": """Der Krieg endete am {day}. {month} {year}.
            Ihr Pass läuft am {day}. {month} {year} ab.
            Das habe ich am {day}. {month} {year} geschrieben.
            Sie haben am {day}. {month} {year} geheiratet.""",
        "time": """Der Wecker hat heute um {t} Uhr geklingelt.
            Das Mittagessen beginnt pünktlich um {t} Uhr.
            Es ist jetzt {t} Uhr.
            Die letzte Fähre fuhr gestern um {t} Uhr.""",
        "price": """Diese Lampe kostet {n} $.
            Wir haben {n} Euro für Essen ausgegeben.
            Die Strafe beträgt {n} €.
            Eine Nacht kostet hier {n} Dollar.""",
        "capitals": """RUF SOFORT {name} AN.
            TÜR {n} NICHT ÖFFNEN.
            {name} WARTET DRAUSSEN.
            BUS {n} HAT VERSPÄTUNG.
            DER LADEN ÖFFNET IN {n} MINUTEN.""",
        "file": """Bitte druck {name} zweimal.
            Wo hast du {name} gespeichert?
            Mein Laptop hat {name} verloren.
            Schick mir heute Abend {name}.""",
        "address": """Das Rezept steht auf {url}.
            Ich habe eine Mail wegen {url} bekommen.
            Bitte sieh dir vor dem Mittag {url} an.
            Unser Kontakt ist {url}.""",
        "code": """Auf dem Etikett steht {word}.
            Hier versteht niemand {word}.
            Ersetze {word} durch etwas anderes.
            Wir haben den ganzen Tag über {word} gesprochen.""",
    },
}

Line = tuple[str, list[str]]  # a sentence, and regular expressions that its translation must match


class Probe:
    """Draws lines of a language, and what their translations into the other one must have."""

    def __init__(self, seed: int, language: str) -> None:
        self._draw, self._language = Random(seed), language

    def __call__(self, kind: str) -> Line:
        """A line of a kind."""
        found: Line = getattr(self, f"_{kind}")()
        return found

    def _pick(self, kind: str, **words: object) -> str:
        pattern = self._draw.choice(PATTERNS[self._language][kind].split("\n")).strip()
        return pattern.format(**words)

    def _listed(self, names: list[str]) -> str:
        return ", ".join(names[:-1]) + {"en": " and ", "de": " und "}[self._language] + names[-1]

    def _number_pair(self, english: str) -> tuple[str, str]:
        """A number as the language writes it, and what the other one must have."""
        german = english.translate(str.maketrans(",.", ".,"))
        written, other, mark = (english, german, ".") if self._language == "en" else (german, english, ",")
        return written, re.escape(other).replace(re.escape(mark), rf"[{mark}\s]?")

    def _first_name(self) -> Line:
        name = self._draw.choice(FIRST_NAMES)
        return self._pick("first_name", name=name), [exactly(name)]

    def _full_name(self) -> Line:
        name = f"{self._draw.choice(FIRST_NAMES)} {self._draw.choice(LAST_NAMES)}"
        return self._pick("full_name", name=name), [exactly(name)]

    def _place(self) -> Line:
        city = self._draw.choice(PLACES)
        return self._pick("place", city=city), [exactly(city)]

    def _cities(self) -> Line:
        chosen = self._draw.sample(PLACES, self._draw.randint(2, 4))
        return self._pick("cities", listed=self._listed(chosen)), [exactly(city) for city in chosen]

    def _names(self) -> Line:
        chosen = self._draw.sample(FIRST_NAMES, self._draw.randint(2, 4))
        return self._pick("names", listed=self._listed(chosen)), [exactly(name) for name in chosen]

    def _number(self) -> Line:
        n = self._draw.randint(13, 10 ** self._draw.randint(2, 3))
        return self._pick("number", n=n), [exactly(str(n))]

    def _thousands(self) -> Line:
        n, required = self._number_pair(f"{self._draw.randint(1001, 10 ** self._draw.randint(4, 7)):,}")
        return self._pick("thousands", n=n), [rf"(?<!\w){required}(?!\w)"]

    def _decimal(self) -> Line:
        n, required = self._number_pair(f"{self._draw.randint(0, 90)}.{self._draw.randint(1, 99)}")
        return self._pick("decimal", n=n), [rf"(?<!\w){required}(?!\w)"]

    def _date(self) -> Line:
        (english, german), day, year = (
            self._draw.choice(MONTHS),
            self._draw.randint(1, 28),
            self._draw.randint(1850, 2030),
        )
        required, month = rf"(?<!\d)0?{day}\.\s?({german}|\d\d?\.)\s?{year}(?!\d)", english
        if self._language == "de":
            nth = rf"0?{day}(st|nd|rd|th)?"
            required, month = rf"(?<!\w)({english} {nth}|{nth} (of )?{english}),? {year}(?!\d)", german
        return self._pick("date", month=month, day=day, year=year), [required]

    def _time(self) -> Line:
        hour, minute = self._draw.randint(0, 23), self._draw.randint(0, 59)
        written, may_be = f"{hour}:{minute:02}", [f"0?{hour}"]
        halved = self._language == "en" and self._draw.random() < 0.4
        if halved:
            written = f"{(hour - 1) % 12 + 1}:{minute:02} {'p.m.' if hour >= 12 else 'a.m.'}"
        if halved or self._language == "de":
            may_be.append(f"0?{(hour - 1) % 12 + 1}")
        return self._pick("time", t=written), [rf"(?<!\d)({'|'.join(may_be)})[:.]{minute:02}(?!\d)"]

    def _price(self) -> Line:
        whole = self._draw.randint(2, 10 ** self._draw.randint(1, 5))
        cents = self._draw.choice(("", f".{self._draw.randint(10, 99)}"))
        n, required = self._number_pair(f"{whole:,}{cents}")
        return self._pick("price", n=n), [rf"(?<![\d.,]){required}(?!\d)"]

    def _capitals(self) -> Line:
        name, n = self._draw.choice(FIRST_NAMES).upper(), str(self._draw.randint(2, 99))
        line = self._pick("capitals", name=name, n=n)
        return line, [rf"(?i){exactly(thing)}" for thing in (name, n) if thing in line]

    def _file(self) -> Line:
        stems = ("holiday_photos", "budget-2031", "Lebenslauf", "thesis_v4", "setup", "minutes_07", "IMG_2219")
        endings = ("odt", "mp4", "xls", "svg", "tex", "cpp", "bak", "jpeg")
        name = f"{self._draw.choice(stems)}.{self._draw.choice(endings)}"
        return self._pick("file", name=name), [exactly(name)]

    def _address(self) -> Line:
        host = self._draw.choice(("rosenhof.at", "blue-kettle.net", "citylibrary.org", "meteo24.ch", "pinewood.shop"))
        urls = (f"https://{host}/menu", f"www.{host}", f"info@{host}", f"http://{host}/a/17?x=2", f"j.doe@{host}")
        url = self._draw.choice(urls)
        return self._pick("address", url=url), [re.escape(url)]

    def _code(self) -> Line:
        words = ("QX-7731", "B2B", "ISO-8859-1", "getUserName", "max_retries", "AX410", "MP3", "T-1000", "RFC2119")
        word = self._draw.choice(words)
        return self._pick("code", word=word), [exactly(word)]


def exactly(text: str) -> str:
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", choices=PATTERNS, default="en", help="language of the lines")
    parser.add_argument("--seed", type=int, default=SEED, help="of the lines")
    parser.add_argument("--show", action="store_true", help="print the lines that lack something")
    arguments, options = parser.parse_known_args()
    probe = Probe(arguments.seed, arguments.source)
    lines = [(kind, *probe(kind)) for kind in PATTERNS["en"] for _ in range(N_LINES)]
    text = "".join(line + "\n" for _, line, _ in lines)
    command = [HEED, "translate", "--from", arguments.source, *options]
    translated = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
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
