"""What is lost of real files in other formats: catalogues, pages, subtitles, Markdown.

    apt-get source git coreutils tar wget
    python tests/benchmarks/formats.py --po */po/de.po --html /usr/share/doc/*/*.html --srt *.srt --markdown *.md

Translates the files by the installed command and counts, by other libraries than heed reads them with, what is not as
it was. Placeholders by `msgfmt --check`, of `--messages` msgids, as many of each catalogue, and beside it the same
msgids as fields of JSON lines with --keep-tags; elements by lxml; timings by pysubs2; blocks and inline marks by
markdown-it. The last line is JSON. Needs gettext and the `dev` extra.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polib
import pysubs2
from lxml import html
from markdown_it import MarkdownIt

HEED = str(Path(sys.executable).with_name("heed"))
LARGEST = 60_000  # bytes of a page or a text
Figures = dict[str, object]


def translate(*arguments: object, stdin: bytes = b"") -> tuple[bytes, str]:
    """What the command writes to stdout and to stderr."""
    result = subprocess.run([HEED, "translate", *map(str, arguments)], input=stdin, capture_output=True, check=True)
    return result.stdout, result.stderr.decode()


def sample(paths: Sequence[Path], n_messages: int) -> polib.POFile:
    """A catalogue of messages without translations, as many of each file."""
    found = polib.POFile()
    found.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Plural-Forms": "nplurals=2; plural=(n != 1);"}
    seen = set[tuple[str, str]]()
    for path in paths:
        entries = [entry for entry in polib.pofile(str(path)) if not entry.obsolete]
        n = n_messages // len(paths)
        for entry in entries[:: max(1, len(entries) // n)][:n]:
            if (entry.msgctxt or "", entry.msgid) in seen:
                continue
            seen.add((entry.msgctxt or "", entry.msgid))
            entry.flags = [flag for flag in entry.flags if flag != "fuzzy"]
            entry.msgstr, entry.msgstr_plural = "", dict.fromkeys(entry.msgstr_plural, "")
            found.append(entry)
    return found


def faults(catalogue: polib.POFile, directory: Path) -> int:
    """How many messages msgfmt finds something wrong with."""
    catalogue.save(str(directory / "checked.po"))
    command = ["msgfmt", "--check", "-o", "/dev/null", str(directory / "checked.po")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return len({line.split(":")[1] for line in said.splitlines() if "checked.po:" in line and "warning" not in line})


def try_catalogues(paths: Sequence[Path], n_messages: int, directory: Path) -> Figures:
    """Messages that lost something: as a catalogue, and as JSON lines with --keep-tags."""
    messages = sample(paths, n_messages)
    path = directory / "messages.po"
    messages.save(str(path))
    begun = time.monotonic()
    translate(path, "-o", directory / "translated.po")
    seconds = time.monotonic() - begun
    found = polib.pofile(str(directory / "translated.po"))
    lines = "".join(json.dumps({"text": entry.msgid}) + "\n" for entry in messages).encode()
    texts, _ = translate("--input-format", "jsonl", "--keep-tags", stdin=lines)
    plain = sample(paths, n_messages)
    for entry, line in zip(plain, texts.splitlines(), strict=True):
        if entry.msgid_plural:
            entry.msgstr_plural = {number: str(json.loads(line)["text"]) for number in entry.msgstr_plural}
        else:
            entry.msgstr = json.loads(line)["text"]
    return {
        "messages": len(messages),
        "untranslated": len(found.untranslated_entries()),
        "fuzzy": len(found.fuzzy_entries()),
        "wrong": faults(found, directory),
        "wrong as JSON lines": faults(plain, directory),
        "seconds": round(seconds, 1),
    }


def try_files(paths: Sequence[Path], directory: Path, parts: Callable[[str], list[object]]) -> Figures:
    """Files of which something is not as it was, and what it is.

    Args:
        paths: Of the files.
        directory: For their translations.
        parts: What must be the same of a file and its translation.
    """
    total, lost, changed = 0, Counter[str](), 0
    blocks = 0
    for number, path in enumerate(paths):
        output = directory / f"{number}{path.suffix}"
        _, said = translate(path, "-o", output)
        blocks += sum(int(line.split()[2]) for line in said.splitlines() if "stay in the source language" in line)
        before, after = (parts(each.read_text("utf-8", "replace")) for each in (path, output))
        total += len(before)
        lost += Counter(map(repr, before)) - Counter(map(repr, after))
        changed += before != after
    return {
        "files": len(paths),
        "parts": total,
        "lost": lost.total(),
        "files with another order": changed,
        "blocks left in the source language": blocks,
    }


def elements(text: str) -> list[object]:
    """The elements and the attributes of a page that no one reads."""
    shown = ("alt", "title")
    root = html.fromstring(text.encode())
    return [
        (str(each.tag), *sorted((name, value) for name, value in each.attrib.items() if name not in shown))
        for each in root.iter()
    ]


def cues(text: str) -> list[object]:
    """From when to when each cue is shown."""
    return [(cue.start, cue.end) for cue in pysubs2.SSAFile.from_string(text)]


def marks(text: str) -> list[object]:
    """The blocks of Markdown, and what is within them besides words."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = list[object]()
    for token in parser.parse(text):
        children = [child for child in token.children or [] if child.type not in ("text", "softbreak", "image")]
        content = token.content if token.type in ("fence", "code_block") else ""
        inner = sorted(repr((child.type, child.content, sorted(child.attrs.items()))) for child in children)
        found.append((token.type, token.tag, content, *inner))
    return found


def main() -> None:
    """Try all files that are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("po", "html", "srt", "markdown"):
        parser.add_argument(f"--{kind}", nargs="+", type=Path, default=[])
    parser.add_argument("--messages", type=int, default=600, help="msgids of all catalogues together")
    parser.add_argument("--files", type=int, default=10, help="of each other kind, the first that are small enough")
    asked = parser.parse_args()
    figures = dict[str, Figures]()
    with tempfile.TemporaryDirectory() as name:
        if asked.po:
            figures["po"] = try_catalogues(asked.po, asked.messages, Path(name))
        for kind, parts in (("html", elements), ("srt", cues), ("markdown", marks)):
            paths = [path for path in getattr(asked, kind) if path.is_file() and path.stat().st_size <= LARGEST]
            if paths:
                figures[kind] = try_files(paths[: asked.files], Path(name), parts)
    for kind, found in figures.items():
        print(f"{kind}: {', '.join(f'{what} {value}' for what, value in found.items())}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
