"""What `heed translate --keep-tags` loses of real files: placeholders of catalogues, tags of pages, options of manuals.

    python tests/benchmarks/kept.py --heed heed --po po/de.po --html page.html --text manual.txt

Counts are made by other means than heed's: gettext's own grammar for placeholders, Python's parser for tags. A message
of a catalogue is one line, written as it stands in the file; `--messages` of them are drawn at random, seeded.
"""

import argparse
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

# C, Python, Qt and shell, as msgfmt knows them, and what is no word: escapes, options, URLs.
PLACEHOLDER = re.compile(
    r"%(?:\d+\$)?(?:\(\w+\)|\{\w+\})?[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*)?)?(?:hh|h|ll|l|L|q|j|z|t)?[diouxXeEfFgGaAcsp%]"
    r"|%<PRI\w+>|\\[nt]|\{[^{}]*\}|\$\{?\w+\}?|--[a-z][\w-]+|https?://[^\s<>]*\w"
)


class Tags(HTMLParser):
    """Counts the tags, comments and declarations of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: Counter[str] = Counter()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[f"<{tag} {attrs}>"] += 1

    def handle_endtag(self, tag: str) -> None:
        self.found[f"</{tag}>"] += 1

    def handle_comment(self, data: str) -> None:
        self.found[f"<!--{' '.join(data.split())}-->"] += 1

    def handle_decl(self, decl: str) -> None:
        self.found[f"<!{decl}>"] += 1


def messages(path: Path) -> list[str]:
    """The messages of a catalogue, with escapes as they are written."""
    entries = re.findall(r'^msgid((?:\s*"(?:[^"\\]|\\.)*")+)', path.read_text("utf-8", "replace"), re.MULTILINE)
    texts = ("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', entry)) for entry in entries)
    return [text for text in texts if text]


def translated(heed: str, lines: list[str]) -> list[str]:
    """The translations of lines."""
    command = [heed, "translate", "--keep-tags", "--beam-size", "1"]
    text = "".join(line + "\n" for line in lines)
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    return done.stdout.split("\n")[:-1]


def placeholders(line: str) -> Counter[str]:
    """Those of a line."""
    return Counter(PLACEHOLDER.findall(line))


def report(kind: str, lines: list[str], heed: str, count: Callable[[str], Counter[str]]) -> None:
    """Translate lines, and print how many have other placeholders than before."""
    found = translated(heed, lines)
    pairs = [(count(line), count(other)) for line, other in zip(lines, found, strict=True)]
    with_some = sum(bool(before) for before, _ in pairs)
    lost = sum(bool(before - after) for before, after in pairs)
    added = sum(bool(after - before) for before, after in pairs)
    print(f"{kind}: {len(lines)} lines, {with_some} with something to keep; {lost} lose some, {added} gain some")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heed", default="heed", help="the command")
    parser.add_argument("--po", nargs="*", default=[], type=Path)
    parser.add_argument("--html", nargs="*", default=[], type=Path)
    parser.add_argument("--text", nargs="*", default=[], type=Path)
    parser.add_argument("--messages", default=600, type=int)
    asked = parser.parse_args()
    every = sorted({message for path in asked.po for message in messages(path)})
    if every:
        chosen = random.Random(1).sample(every, min(asked.messages, len(every)))
        report("catalogues", chosen, asked.heed, placeholders)
    lost = total = 0
    for path in asked.html:
        text = path.read_text("utf-8", "replace")
        before, after = Tags(text).found, Tags("\n".join(translated(asked.heed, text.split("\n")))).found
        total += before.total()
        lost += (before - after).total()
    if asked.html:
        print(f"pages: {len(asked.html)} with {total} tags; {lost} lost")
    for path in asked.text:
        report(path.name, path.read_text("utf-8", "replace").split("\n"), asked.heed, placeholders)


if __name__ == "__main__":
    main()
