"""Degenerate translations of odd text: how many there are, how many of them are told, and what else is told.

    python tests/benchmarks/odd_text.py --data DIR [OPTIONS of heed translate, as -m MODEL]

Some 10,000 lines that a translator of everyday English was not made for: code, tables, symbols, manual pages, package
descriptions, spellings and sounds, other languages, verse, and long sentences. DIR has the folders of the text (see
`SOURCES`); code is that of this repository. A translation counts as degenerate where it repeats a phrase five times
more than its source does, or is three times as long as its source, and longer than a few words. That is looked for by
other code than what `heed translate` tells by. Prints the shares by kind of text; --show prints degenerate lines that
were not told, and some that were told and are not degenerate. The last line is JSON.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

HEED = str(Path(sys.executable).with_name("heed"))
ROOT = Path(__file__).parents[2]
SEED, N_LINES = 2017, 1000  # lines of a kind
REPEATED, LONGER, FEW = 5, 3, 40  # times, times as long, characters
SHOWN = 15
SOURCES = {
    "manual pages": "manpages/en-de.en.gz",
    "package descriptions": "debian-descriptions/dev.en.gz",
    "sounds": "cmudict/phonemes.gz",
    "Japanese": "enja/dev.ja.gz",
    "Czech": "multi30k/train.cs.gz",
    "French": "multi30k/train.fr.gz",
    "encyclopedia": "lm/wikitext-2.valid.txt.gz",
    "verse": "lm/tinyshakespeare.txt.gz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the text")
    parser.add_argument("--show", action="store_true", help="print lines where both do not agree")
    asked, options = parser.parse_known_args()
    kinds = lines_by_kind(asked.data)
    lines = [(kind, line) for kind, found in kinds.items() for line in found]
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    shown: dict[str, list[str]] = {"degenerate, not told": [], "told, not degenerate": []}
    for (kind, line), record in zip(lines, translated([line for _, line in lines], options), strict=True):
        degenerate, told = is_degenerate(line, record["translation"]), bool(record["doubts"])
        counts[kind] += Counter(lines=1, degenerate=degenerate, told=told, both=degenerate and told)
        if degenerate != told:
            where = shown["degenerate, not told" if degenerate else "told, not degenerate"]
            where.append(f"{record['doubts']} {kind}: {line[:90]!r} → {record['translation'][:110]!r}")
    for kind, of_kind in counts.items():
        print(
            f"{kind:<22}" + "  ".join(f"{name} {of_kind[name]:>5}" for name in ("lines", "degenerate", "both", "told"))
        )
    if asked.show:
        for name, examples in shown.items():
            print(f"\n{name}:", *Random(SEED).sample(examples, min(SHOWN, len(examples))), sep="\n  ")
    print(
        json.dumps(
            {"all": dict(sum(counts.values(), Counter())), **{kind: dict(each) for kind, each in counts.items()}}
        )
    )


def lines_by_kind(data: Path) -> dict[str, list[str]]:
    """Lines of each kind, drawn by the seed."""
    novels = [unpacked(path)[:200_000] for path in sorted((data / "lm/gutenberg").glob("*.gz"))]
    sentences = (part for novel in novels for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", novel))
    every = {name: unpacked(data / path).split("\n") for name, path in SOURCES.items()} | {
        "code": lines_of(ROOT.glob("models/**/*.py")),
        "tables": [line for line in lines_of(pages()) if "|" in line],
        "long sentences": [" ".join(part.split()) for part in sentences if 250 < len(part) < 1200],
    }
    found = {name: list(dict.fromkeys(filter(str.strip, lines))) for name, lines in every.items()}
    return {name: Random(SEED).sample(lines, min(N_LINES, len(lines))) for name, lines in found.items()}


def unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def pages() -> Iterable[Path]:
    """The pages of this repository, and not those of environments that stand in it."""
    return (
        *ROOT.glob("*.md"),
        *(page for folder in ("docs", "models", "tests") for page in ROOT.glob(f"{folder}/**/*.md")),
    )


def lines_of(paths: Iterable[Path]) -> list[str]:
    return [line for path in sorted(paths) for line in path.read_text("utf-8").split("\n")]


def translated(lines: list[str], options: list[str]) -> list[dict[str, Any]]:
    """The records of `heed translate --json`."""
    text, command = "".join(f"{line}\n" for line in lines), [HEED, "translate", "--json", *options]
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def is_degenerate(source: str, translation: str) -> bool:
    """Whether a translation repeats itself, as its source does not, or runs on."""
    if len(translation) > max(FEW, LONGER * len(source)):
        return True
    return times_repeated(translation) >= times_repeated(source) + REPEATED


def times_repeated(text: str) -> int:
    """How often a phrase of one to four words, or of two to six characters, follows on itself at most."""
    words, found = text.split(), 1
    for size in range(1, 5):
        found = max(found, longest_run(words, size))
    runs = re.finditer(r"(\w{2,6}?)\1{3,}", text)
    return max([found, *(len(run[0]) // len(run[1]) for run in runs)])


def longest_run(words: list[str], size: int) -> int:
    """How often a phrase of this many words follows on itself at most."""
    best = 1
    for start in range(size):
        phrases = [tuple(words[i : i + size]) for i in range(start, len(words) - size + 1, size)]
        run = 1
        for before, phrase in pairwise(phrases):
            run = run + 1 if phrase == before else 1
            best = max(best, run)
    return best


if __name__ == "__main__":
    main()
