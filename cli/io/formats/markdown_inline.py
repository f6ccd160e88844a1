"""The inline mark-up of Markdown, and where it stands; markdown-it itself tells that of blocks only, by lines."""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from heed.cli.io.formats.marks import Piece, PieceKind

# What markdown-it's CommonMark leaves to extensions: notes, boxes to tick, GitHub's alerts.
EXTENSION = re.compile(r"(?P<single>\A\[[ xX]\](?=\s)|\A\[![A-Z]+\]|\A\[\^[^\]\s]+\]:)|(?P<word>\[\^[^\]\s]+\])")
# The rules of markdown-it that find something besides words.
RECORDED = (
    "newline", "escape", "backticks", "strikethrough", "emphasis", "link", "image", "autolink", "html_inline", "entity",
)  # fmt: skip
Span = tuple[int, int, str]  # and what it is: "text" with other characters than it shows, or a type of token
Rule = Callable[[StateInline, bool], bool]


class Parser:
    """CommonMark with GitHub's tables and strikethrough."""

    def __init__(self) -> None:
        self.blocks = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        self._inline = MarkdownIt("commonmark").enable("strikethrough")
        self._spans: list[tuple[Span, Token | None]] = []
        self._content = ""
        for name in RECORDED:
            rule = next(each.fn for each in self._inline.inline.ruler.__rules__ if each.name == name)
            self._inline.inline.ruler.at(name, self._recorded(name, rule))

    def pieces(self, content: str, references: dict[str, Any]) -> list[Piece]:
        """The text and the mark-up of a block.

        Args:
            content: As markdown-it gives it.
            references: What it has found of links in the whole text.
        """
        self._spans, self._content = [], content
        self._inline.inline.parse(content, self._inline, {"references": references}, [])
        spans = sorted(_span(span, token) for span, token in self._spans if token is None or token.type != "text")
        found, here = list[Piece](), 0
        for start, end, kind in spans:
            if start < here:  # an image's own text, an address within an address
                continue
            found += [*_plain(content[here:start]), _piece(content[start:end], kind)]
            here = end
        return [*found, *_plain(content[here:])]

    def _recorded(self, name: str, rule: Rule) -> Rule:
        """A rule of markdown-it's that also tells what it has found, and where."""

        def record(state: StateInline, silent: bool) -> bool:
            start, n_before = state.pos, len(state.tokens)
            label = 0
            if not silent and name in ("link", "image") and state.src[start] in "![":
                label = self._inline.helpers.parseLinkLabel(state, start + (name == "image"), name == "link")
            if not rule(state, silent):
                return False
            if not silent and state.src == self._content:
                self._spans += _found(name, state, start, label, state.tokens[n_before:])
            return True

        return record


def _found(
    name: str, state: StateInline, start: int, label: int, tokens: Sequence[Token]
) -> Iterator[tuple[Span, Token | None]]:
    """The spans that a rule has found, with the tokens that tell in the end what they are."""
    end = state.pos
    if name in ("strikethrough", "emphasis"):
        for token in tokens[-(end - start) :]:
            if token.content.strip("*_~") == "" and token.content:
                yield (start, start + len(token.content), "delimiter"), token
                start += len(token.content)
    elif name == "link":
        yield (start, start + 1, "link_open"), None
        yield (label, end, "link_close"), None
    elif name == "newline":
        before = state.src[:start]
        yield (len(before.rstrip(" ")), end, tokens[-1].type), None
    elif name == "escape" and state.src[start + 1 : start + 2] == "\n":
        yield (start, end, "hardbreak"), None
    elif name == "backticks" and not (tokens and tokens[-1].type == "code_inline"):
        return  # backticks that nothing closes
    else:
        yield (start, end, {"escape": "text", "entity": "text"}.get(name, name)), None


def _span(span: Span, token: Token | None) -> Span:
    """A span with what its token has become in the end; of two stars, either may stand for both."""
    start, end, kind = span
    if token is None:
        return span
    if token.type == "strong_open":
        start -= 1
    elif token.type == "strong_close":
        end += 1
    return start, end, token.type if kind == "delimiter" else kind


def _piece(source: str, kind: str) -> Piece:
    if kind == "text":
        return Piece(PieceKind.TEXT, source, source[1:] if source.startswith("\\") else html.unescape(source))
    if kind == "softbreak":
        return Piece(PieceKind.TEXT, source, " ")
    if kind in ("backticks", "autolink"):
        return Piece(PieceKind.WORD, source)
    if kind == "html_inline":
        opens = re.match(r"<[A-Za-z]", source) and not source.endswith("/>")
        return Piece(
            PieceKind.OPEN if opens else PieceKind.CLOSE if source.startswith("</") else PieceKind.SINGLE, source
        )
    if kind in ("image", "hardbreak"):
        return Piece(PieceKind.SINGLE, source)
    return Piece(PieceKind.OPEN if kind.endswith("_open") else PieceKind.CLOSE, source)


def _plain(text: str) -> Iterator[Piece]:
    here = 0
    for match in [*EXTENSION.finditer(text), None]:
        for words in re.findall(r"\s+|\S+(?:\s+\S+)*", text[here : match.start() if match else None]):
            yield Piece(PieceKind.TEXT, words, words)
        if match:
            yield Piece(PieceKind.SINGLE if match["single"] else PieceKind.WORD, match[0])
            here = match.end()
