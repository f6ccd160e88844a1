"""Markdown: the text of paragraphs, headings, lists and tables; code, links and front matter stay."""

import dataclasses
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Any

from markdown_it.token import Token

from heed.cli.io.formats.document import Segment
from heed.cli.io.formats.markdown_inline import Parser
from heed.cli.io.formats.marks import MarkedText, Piece, PieceKind
from heed.cli.io.formats.page import Page

FRONT_MATTER = re.compile(r"(?:---|\+\+\+)[ \t]*\r?\n.*?\n(?:---|\+\+\+|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")  # as markdown-it counts them
ALT = re.compile(r"!\[([^\[\]]*[^\W\d_][^\[\]]*)\]")
SPECIAL = re.compile(r"([\\`*_\[\]<>~#|])")
SPACE, TAB = "\ufdd0", "\ufdd1"  # which stand for no character in any text
UNBROKEN = {ord(" "): SPACE, ord("\n"): SPACE, ord("\t"): TAB}
Span = tuple[int, int]
BLOCK = re.compile(r"^( *\d*)([-+=.)])", re.MULTILINE)  # what would begin a list or underline a heading


@dataclasses.dataclass(frozen=True)
class Block:
    """The content of a paragraph, a heading or a cell, and where it stands."""

    start: int
    end: int
    content: str  # without what begins its lines: the sign of a quotation, white space
    between: str  # what stands between its first lines: the line's end, and what begins the next
    kind: str  # "paragraph", "heading", "th", "td"


class Markdown:
    """The grammar."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._references: dict[str, Any] = {}
        self._page = Page()
        self._n_lost = 0

    def charset(self, _: bytes) -> str:
        """See `Grammar`."""
        return "utf-8"

    def warnings(self) -> list[str]:
        """See `Grammar`."""
        lost = f"{self._n_lost} blocks stay in the source language: their mark-up did not fit the translation"
        return [lost] * bool(self._n_lost) + self._page.warnings()

    def segments(self, text: str) -> Iterator[Segment]:
        """See `Grammar`: a segment is a block."""
        front = FRONT_MATTER.match(text)
        for found in self._blocks(text, front.end() if front else 0):
            segment = self._passage(text, found) if isinstance(found, Block) else found
            if segment.texts:
                yield segment.unless_same(text)

    def _blocks(self, text: str, begin: int) -> Iterator[Block | Segment]:
        lines = [match.span() for match in LINE.finditer(text, begin)]
        env: dict[str, Any] = {}
        tokens = self._parser.blocks.parse(text[begin:], env)
        self._references = env.get("references", {})
        kind, cursor = "", begin
        for token in tokens:
            if token.type == "inline" and token.map:
                block = _locate(text, lines[slice(*token.map)], token.content, kind, cursor)
                if block:
                    cursor = block.end
                    yield block
            elif token.type == "html_block" and token.map and lines[slice(*token.map)]:
                rows = lines[slice(*token.map)]
                start, end = rows[0][0], rows[-1][1]
                for segment in self._page.segments(text[start:end]):
                    yield segment._replace(start=start + segment.start, end=start + segment.end)
            kind = token.type.removesuffix("_open")

    def _passage(self, text: str, block: Block) -> Segment:
        pieces = self._parser.pieces(block.content, self._references)
        parts = [MarkedText(list(part)) for is_break, part in groupby(pieces, key=_is_break) if not is_break]
        breaks = [piece.source for piece in pieces if _is_break(piece)]
        alts = [match[1] for piece in pieces for match in [ALT.match(piece.source)] if match]

        def fill(*translations: str) -> str:
            found = (translation.replace("\n", " ") for translation in translations)
            asked = [(part, next(found) if part.translatable else None) for part in parts]
            for new in self._written(block, asked, breaks, list(zip(alts, found, strict=True))):
                if self._shape(new, block.kind) == self._shape(block.content, block.kind):
                    return _placed(new, block)
            self._n_lost += 1
            return text[block.start : block.end]

        return Segment(block.start, block.end, (*(part.text for part in parts if part.translatable), *alts), fill)

    def _written(
        self,
        block: Block,
        parts: Sequence[tuple[MarkedText, str | None]],
        breaks: Sequence[str],
        alts: Sequence[tuple[str, str]],
    ) -> Iterator[str]:
        """Ways to write a block with translations: as they are, in lines or in one, and with all signs escaped."""
        if not all(text is None or part.keeps(text) for part, text in parts):
            return
        for escape in (str, _escaped):
            texts = [part.source if text is None else part.restored(text, escape) for part, text in parts]
            new = "".join(each for pair in zip_longest(texts, breaks, fillvalue="") for each in pair)
            for old, alt in alts:
                new = new.replace(f"![{old}]", f"![{_escaped(alt)}]", 1)
            if escape is _escaped:
                new = BLOCK.sub(r"\1\\\2", new)
            if "\n" in block.content and not breaks:
                yield _wrapped(new, [part for part, _ in parts], max(map(len, block.content.split("\n"))))
            yield new

    def _shape(self, content: str, kind: str) -> list[str]:
        """What a block is made of besides its words."""
        env, parser = {"references": self._references}, self._parser.blocks
        tokens = parser.parse(content, env) if kind == "paragraph" else parser.parseInline(content, env)
        every = (child for token in tokens for child in token.children or [token])
        return sorted(_facts(token) for token in every if token.type not in ("text", "softbreak", "inline"))


def _facts(token: Token) -> str:
    attributes = {} if token.type == "image" else token.attrs
    source = str(token.attrs.get("src")) if token.type == "image" else token.content
    return repr((token.type, token.markup, sorted(attributes.items()), source))


def _is_break(piece: Piece) -> bool:
    return piece.kind is PieceKind.SINGLE and "\n" in piece.source and not piece.source.startswith(("<", "!"))


def _wrapped(text: str, parts: Sequence[MarkedText], width: int) -> str:
    """A text in lines, of which none ends within code, a tag or a link's target, whose white space counts."""
    for source in (source for part in parts for source in part.marks if re.search(r"\s", source)):
        text = text.replace(source, source.translate(UNBROKEN))
    lines = textwrap.fill(text, width, expand_tabs=False, break_long_words=False, break_on_hyphens=False)
    return lines.replace(SPACE, " ").replace(TAB, "\t")


def _escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)


def _placed(content: str, block: Block) -> str:
    """The content of a block as it stands in the text."""
    if block.kind in ("th", "td"):
        content = content.replace("|", r"\|")
    return content.replace("\n", block.between)


def _locate(text: str, lines: Sequence[Span], content: str, kind: str, cursor: int) -> Block | None:
    """Where a block's content stands in some lines of a text; None where it is written otherwise there."""
    if kind in ("th", "td"):
        written = content.replace("|", r"\|")
        start = text.find(written, max(cursor, lines[0][0]), lines[0][1])
        return Block(start, start + len(written), content, "", kind) if start >= 0 else None
    places, rows = list[Span](), content.split("\n")
    for (start, end), row in zip(lines, rows, strict=False):
        shown = row.lstrip()  # two spaces at the end are a break
        find = text.rfind if kind == "paragraph" else text.find
        place = find(shown, start, end)
        if place < 0:
            return None
        places.append((place, place + len(shown)))
    if len(places) < len(rows):
        return None
    between = text[places[0][1] : places[1][0]] if len(places) > 1 else ""
    return Block(places[0][0], places[-1][1], "\n".join(row.lstrip() for row in rows), between, kind)
