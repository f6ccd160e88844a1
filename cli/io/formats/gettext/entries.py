"""The entries of gettext's catalogues, and where they stand.

A reader of our own: polib reads catalogues well but writes them anew: it wraps lines in its own way and moves comments,
so what is not translated would not pass byte for byte.
"""

import dataclasses
import re
from collections.abc import Iterator

from heed.models.errors import DataError

KEYWORD = re.compile(r"[ \t]*(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)[ \t]*(?=\")")
STRING = re.compile(r'[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*\Z')
ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))")
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
WRITTEN = {sign: f"\\{letter}" for letter, sign in ESCAPED.items()} | {"\\": "\\\\", '"': '\\"'}
WIDTH = 79  # columns, as gettext wraps
Span = tuple[int, int]


@dataclasses.dataclass
class Entry:
    """A message and its translations."""

    flags: list[str] = dataclasses.field(default_factory=list)
    flag_lines: list[Span] = dataclasses.field(default_factory=list)  # "#,", with their ends; characters of the file
    previous: list[Span] = dataclasses.field(default_factory=list)  # "#|": what the message was
    start: int = 0  # where the first keyword begins
    body: int = 0  # where the first msgstr begins
    end: int = 0  # behind the last one, without its line's end
    strings: dict[str, str] = dataclasses.field(default_factory=dict)  # by keyword: msgid, msgstr[0]

    @property
    def sources(self) -> list[str]:
        """What is translated: msgid, and msgid_plural where there is one."""
        return [self.strings[keyword] for keyword in ("msgid", "msgid_plural") if keyword in self.strings]

    @property
    def msgstrs(self) -> list[str]:
        """The translations."""
        return [text for keyword, text in self.strings.items() if keyword.startswith("msgstr")]

    @property
    def is_header(self) -> bool:
        """Whether it tells of the catalogue."""
        return self.strings.get("msgid") == "" and "msgctxt" not in self.strings

    @property
    def head(self) -> int:
        """Where its flags begin, or what it was, or its first keyword."""
        return min([self.start, *(start for start, _ in self.flag_lines + self.previous)])


def read_entries(text: str) -> Iterator[Entry]:
    """The entries of a catalogue, without obsolete ones.

    Raises:
        DataError: A line is none of a catalogue; it names the line.
    """
    entry, keyword, place = Entry(), "", 0
    for number, ended in enumerate(re.findall(r"[^\n]*\n|[^\n]+\Z", text), start=1):
        line, start, place = ended.rstrip("\r\n"), place, place + len(ended)
        if line.lstrip().startswith("#"):
            if entry.strings or line.lstrip().startswith("#~"):  # what is obsolete passes as it is
                yield from _complete(entry, number)
                entry = Entry()
            _read_comment(entry, line.lstrip(), (start, place))
        elif line.strip():
            named = KEYWORD.match(line)
            if named:
                if named[1] in ("msgctxt", "msgid") and entry.msgstrs:
                    yield from _complete(entry, number)
                    entry = Entry()
                keyword = named[1]
                if keyword in entry.strings:
                    raise DataError(f"line {number}: a second {keyword} in one entry; mend the catalogue")
                entry.start = entry.start if entry.strings else start
                entry.body = entry.body if entry.msgstrs or not keyword.startswith("msgstr") else start
                entry.strings[keyword] = ""
            string = STRING.match(line, named.end() if named else 0)
            if string is None or not entry.strings:
                raise DataError(f"line {number}: no line of a catalogue: {line!r}; mend it, as msgfmt -c shows")
            entry.strings[keyword] += unescaped(string[1])
            entry.end = start + len(line)
    yield from _complete(entry, text.count("\n") + 1)


def _read_comment(entry: Entry, line: str, span: Span) -> None:
    if line.startswith("#,"):
        entry.flag_lines.append(span)
        entry.flags += [flag.strip() for flag in line[2:].split(",") if flag.strip()]
    elif line.startswith("#|"):
        entry.previous.append(span)


def _complete(entry: Entry, number: int) -> Iterator[Entry]:
    if entry.strings:
        if "msgid" not in entry.strings or not entry.msgstrs:
            missing = "msgstr" if "msgid" in entry.strings else "msgid"
            raise DataError(f"line {number}: the entry before has no {missing}; mend the catalogue")
        yield entry


def unescaped(text: str) -> str:
    """What a string of a catalogue says."""

    def sign(match: re.Match[str]) -> str:
        if match[1] or match[2]:
            return chr(int(match[1], 8) if match[1] else int(match[2], 16))
        return ESCAPED.get(match[3], match[3])

    return ESCAPE.sub(sign, text)


def written(keyword: str, text: str, newline: str, *, wrapped: bool = True) -> str:
    """A string of a catalogue with its keyword, in lines as gettext writes them."""
    parts = [_escaped(part) for part in re.findall(r"[^\n]*\n|[^\n]+\Z", text)]
    if len(parts) <= 1 and (not wrapped or len(f'{keyword} "{"".join(parts)}"') <= WIDTH):
        return f'{keyword} "{"".join(parts)}"'
    lines = [line for part in parts for line in (_wrapped(part) if wrapped else [part])]
    return newline.join([f'{keyword} ""', *(f'"{line}"' for line in lines)])


def _escaped(text: str) -> str:
    return "".join(WRITTEN.get(sign, sign) for sign in text)


def _wrapped(text: str) -> list[str]:
    """A line of a string in parts, cut after spaces."""
    lines = [""]
    for word in re.findall(r"[^ ]* +|[^ ]+\Z", text):
        if lines[-1] and len(lines[-1]) + len(word) > WIDTH - 2:
            lines.append("")
        lines[-1] += word
    return lines
