"""HTML pages: blocks of text, and the attributes alt and title.

The tokens are those of the standard library's parser, which tells where each stands. lxml and selectolax do not, and
write a page anew, so what is not translated would not pass byte for byte.
"""

# ruff: noqa: SIM905 - lists of words are read as text

import dataclasses
import html
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from heed.cli.io.formats.document import Segment
from heed.cli.io.formats.marks import MarkedText, Piece, PieceKind

# Elements within a sentence; any other element, and <br>, bounds one. Those of the second kind stand for a word.
INLINE = frozenset(
    """
    a abbr acronym b bdi bdo big cite data del dfn em font i img ins label mark nobr q rp rt ruby s small span strike
    strong sub sup time tt u wbr
    """.split()
)
WORDS = frozenset(("code", "kbd", "samp", "var"))
UNTOUCHED = frozenset(("script", "style", "pre", "textarea", "svg", "math", "template", "xmp", "listing", "noembed"))
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]+encoding=[\"']([\w.:-]+)", re.IGNORECASE)
CHARSET_WITHIN = 4096  # bytes from the beginning
ATTRIBUTE = re.compile(r"([^\s/>=\"']+)\s*(?:=\s*(\"[^\"]*\"|'[^']*'|[^\s>]+))?")
ATTRIBUTES = ("alt", "title")
WHITE = re.compile(r"[ \t\r\n\f]+")
Token = tuple[str, str, int]  # what it is, of which element, and where it begins


class _Tokens(HTMLParser):
    """The tokens of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[Token] = [("text", "", 0)]  # for "&" before an entity that is not one has no token
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.feed(text)
        self.close()

    def _add(self, kind: str, name: str = "") -> None:
        line, column = self.getpos()
        self.found.append((kind, name, self._lines[line - 1] + column))

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - as HTMLParser calls them
        self._add("start", tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._add("empty", tag)

    def handle_endtag(self, tag: str) -> None:
        self._add("end", tag)

    def handle_data(self, data: str) -> None:  # noqa: ARG002
        self._add("text")

    def handle_entityref(self, name: str) -> None:  # noqa: ARG002
        self._add("text")

    def handle_charref(self, name: str) -> None:  # noqa: ARG002
        self._add("text")

    def handle_comment(self, data: str) -> None:  # noqa: ARG002
        self._add("comment")

    def handle_decl(self, decl: str) -> None:  # noqa: ARG002
        self._add("other")

    def unknown_decl(self, data: str) -> None:  # noqa: ARG002
        self._add("other")

    def handle_pi(self, data: str) -> None:  # noqa: ARG002
        self._add("other")


@dataclasses.dataclass(frozen=True)
class HtmlPart:
    """A token of a page, or an element that stays as it is."""

    kind: str  # "text", "start", "end", "empty", "comment", "word"; any other bounds a sentence
    start: int
    end: int
    name: str = ""


class Page:
    """The grammar."""

    def __init__(self) -> None:
        self._charset = "utf-8"
        self._n_lost = 0

    def charset(self, data: bytes) -> str:
        """See `Grammar`."""
        declared = CHARSET.search(data[:CHARSET_WITHIN])
        if declared and not data.startswith(b"\xef\xbb\xbf"):
            self._charset = (declared[1] or declared[2]).decode()
        return self._charset

    def warnings(self) -> list[str]:
        """See `Grammar`."""
        return [f"{self._n_lost} blocks stay in the source language: their tags were lost"] if self._n_lost else []

    def segments(self, text: str) -> Iterator[Segment]:
        """See `Grammar`: a segment is a block of text, or an attribute of a tag between blocks."""
        block: list[HtmlPart] = []
        for part in find_parts(text):
            if part.kind in ("text", "word", "comment") or part.name in INLINE:
                block.append(part)
                continue
            yield from self._block(text, block)
            block = []
            yield from self._attributes(text, [part])
        yield from self._block(text, block)

    def _block(self, text: str, parts: Sequence[HtmlPart]) -> Iterator[Segment]:
        marked = MarkedText([piece for part in parts for piece in _pieces(text, part)])
        tags = [part for part in parts if part.name]
        if not marked.translatable:
            yield from self._attributes(text, tags)
            return
        attributes = list(self._attributes(text, tags))

        def fill(translation: str, *others: str) -> str:
            if not marked.keeps(translation):
                self._n_lost += 1
                return text[parts[0].start : parts[-1].end]
            filled = marked.restored(translation, self._escaped)
            for tag, new in _changed(text, tags, attributes, others):
                filled = filled.replace(tag, new, 1)
            return filled

        texts = (marked.text, *(text for segment in attributes for text in segment.texts))
        yield Segment(parts[0].start, parts[-1].end, texts, fill).unless_same(text)

    def _attributes(self, text: str, parts: Sequence[HtmlPart]) -> Iterator[Segment]:
        """The values of attributes of tags that a reader sees."""
        for part in parts:
            if part.kind not in ("start", "empty"):
                continue
            for match in ATTRIBUTE.finditer(text, part.start + 1 + len(part.name), part.end):
                value = match[2] or ""
                if match[1].lower() in ATTRIBUTES and value[:1] in ('"', "'") and re.search(r"[^\W\d_]", value):
                    seen = WHITE.sub(" ", html.unescape(value[1:-1]))
                    yield Segment(match.start(2), match.end(2), (seen,), self._quoted).unless_same(text)

    def _quoted(self, translation: str) -> str:
        return '"' + self._escaped(translation).replace('"', "&quot;") + '"'

    def _escaped(self, text: str) -> str:
        """A text as the page can have it."""
        escaped = html.escape(text, quote=False).replace("\u00a0", "&nbsp;")
        return escaped.encode(self._charset, "xmlcharrefreplace").decode(self._charset)


def _stays(name: str, tag: str) -> bool:
    """Whether an element stays as it is."""
    return name not in VOID and (name in WORDS | UNTOUCHED or _declared(tag))


def find_parts(text: str) -> Iterator[HtmlPart]:
    """The tokens of a page in order, with elements that stay as they are in one; joined they are the page."""
    tokens = _Tokens(text).found
    starts = [start for _, _, start in tokens]
    ends = [*starts[1:], len(text)]
    number = 0
    while number < len(tokens):
        kind, name, start = tokens[number]
        last = number
        if kind == "start" and _stays(name, text[start : ends[number]]):
            last = _end_of(tokens, number)
            kind, name = ("word", "") if name in WORDS | INLINE else ("other", "")
        if ends[last] > start:
            yield HtmlPart(kind, start, ends[last], name)
        number = last + 1


def _declared(tag: str) -> bool:
    """Whether a tag says that its element is not to be translated."""
    return bool(
        re.search(r"\stranslate\s*=\s*[\"']?no\b|\sclass\s*=\s*[\"'][^\"']*\bnotranslate\b", tag, re.IGNORECASE)
    )


def _end_of(tokens: Sequence[Token], number: int) -> int:
    """The number of the token that ends an element; of one that is not ended, that which begins it."""
    name, depth = tokens[number][1], 0
    for place in range(number, len(tokens)):
        kind, other, _ = tokens[place]
        if other == name:
            depth += (kind == "start") - (kind == "end")
            if not depth:
                return place
    return number


def _pieces(text: str, part: HtmlPart) -> Iterator[Piece]:
    source = text[part.start : part.end]
    if part.kind == "text":
        for words in re.findall(r"[ \t\r\n\f]+|[^ \t\r\n\f]+(?:[ \t\r\n\f]+[^ \t\r\n\f]+)*", source):
            yield Piece(PieceKind.TEXT, words, WHITE.sub(" ", html.unescape(words)))
    else:
        kinds = {"start": PieceKind.OPEN, "end": PieceKind.CLOSE, "word": PieceKind.WORD}
        yield Piece(PieceKind.SINGLE if part.name in VOID else kinds.get(part.kind, PieceKind.SINGLE), source)


def _changed(
    text: str, tags: Sequence[HtmlPart], attributes: Sequence[Segment], translations: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Tags, and what they are with their attributes translated."""
    for tag in tags:
        new, here = "", tag.start
        for attribute, translation in zip(attributes, translations, strict=True):
            if tag.start <= attribute.start < tag.end:
                new += text[here : attribute.start] + attribute.fill(translation)
                here = attribute.end
        if new:
            yield text[tag.start : tag.end], new + text[here : tag.end]
