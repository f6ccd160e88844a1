"""Mark-up in lines: tags, comments and what else is no text, and what of it a line leaves open for the next."""

import re

from heed.models.patterns import regex
from heed.models.text.words import Span

NAME = r"[A-Za-z][\w:.-]*+"
VALUE = r"\"[^\"]*+\"|'[^']*+'"
TAG = rf"</?{NAME}(?:(?=[\s/])(?:=\s*+(?:{VALUE})|[^<>])*+)?>"  # a value may hold a >
ATTRIBUTE = rf"[\w:@.-]++(?:\s*+=\s*+(?:{VALUE}|\"[^\"]*+(?P<double>\Z)|'[^']*+(?P<single>\Z)|[^\s\"'<>]++|(?=\s*\Z)))"
# A tag that goes on in the next line: after its name come attributes with values, of which the last may be cut.
CUT_TAG = rf"</?{NAME}(?:\s++(?:{ATTRIBUTE})?+)*+/?(?P<tag>\Z)"
REST_OF_TAG = rf"\s*+(?:=\s*+)?+(?:{VALUE})?+\s*+(?:{ATTRIBUTE}?+\s*+)*+/?(?:>|(?P<tag>\Z))"
# What begins so is kept to its end, in whatever line that is. Groups without characters are named by what is open.
MARKUP = regex(
    r"<!--.*?(?:-->|(?P<comment>\Z))"
    r"|<!\[CDATA\[.*?(?:\]\]>|(?P<cdata>\Z))"
    r"|<\?.*?(?:\?>|(?P<instruction>\Z))"
    r"|<![A-Za-z][^<>\[]*+(?:\[.*?\]\s*+)?(?:>|(?P<declaration>\Z))"
    rf"|<(?P<raw>(?i:script|style|pre|textarea))\b(?:{VALUE}|[^<>\"'])*+>.*?(?:</(?P=raw)\s*+>|(?P<content>\Z))"
    # What is code is no text either; in one line, for elements as small are.
    rf"|<(?P<code>(?i:code|kbd|samp|var|tt))(?:\s[^<>]*+)?>[^<]*+(?:<(?!/?(?P=code))[^<]*+)*+</(?P=code)\s*+>"
    rf"|(?<!%)(?:{TAG}|{CUT_TAG})",  # after a % it is gettext's or Ruby's
    re.DOTALL,
)
CODE = regex(r"<(?i:code|kbd|samp|var|tt)\b[^<>]*+>.")
CLOSERS = {
    "comment": r".*?(?:-->|(?P<comment>\Z))",
    "cdata": r".*?(?:\]\]>|(?P<cdata>\Z))",
    "instruction": r".*?(?:\?>|(?P<instruction>\Z))",
    "declaration": r"[^<>]*+(?:>|(?P<declaration>\Z))",
    "tag": REST_OF_TAG,
    "double": rf"[^\"]*+(?:\"{REST_OF_TAG}|(?P<still>\Z))",
    "single": rf"[^']*+(?:'{REST_OF_TAG}|(?P<still>\Z))",
    **{name: rf"(?i:.*?(?:</{name}\s*+>|(?P<still>\Z)))" for name in ("script", "style", "pre", "textarea")},
}
# Elements whose tags part sentences: blocks, cells, line breaks, and what HTML's and DocBook's heads have.
BLOCKS = frozenset(
    """
    address article aside blockquote body br button caption center col colgroup dd details dialog dir div dl dt
    fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe input
    legend li link main menu meta nav noscript object ol optgroup option p param pre script section select style
    summary table tbody td template textarea tfoot th thead title tr ul
    entry listitem para row screen sect1 sect2 sect3 simpara term
    """.split()  # noqa: SIM905 - a list of words is read as text
)


def scan(line: str, inside: str = "") -> tuple[list[Span], str]:
    """Find mark-up.

    Args:
        line: A line of text.
        inside: What the line before has left open.

    Returns:
        Where the mark-up is, from left to right; and what this line leaves open, nothing as a rule.
    """
    spans, place = list[Span](), 0
    if inside and (rest := regex(CLOSERS[inside], re.DOTALL).match(line)):
        if rest.lastgroup == "tag" and line.strip() and "=" not in line:  # it was no tag after all
            rest = None
    else:
        rest = None
    if rest:
        if left := _left_open(rest):
            return [(0, len(line))], inside if left == "still" else left
        spans, place = [rest.span()], rest.end()
    found = None
    for found in MARKUP.finditer(line, place):
        spans.append(found.span())
    left = _left_open(found) if found else ""
    return spans, found["raw"].lower() if found and left == "content" else left


def _left_open(found: re.Match[str]) -> str:
    """What mark-up leaves open at the end of its line: the name of the group that matched there."""
    groups = [name for name, text in found.groupdict().items() if text == ""]
    return groups[0] if groups else ""  # an attribute's value ahead of its tag


def is_tag(text: str) -> bool:
    """Whether a text is one tag or comment."""
    if text.startswith("<!--"):
        return text.endswith("-->")
    return re.fullmatch(TAG, text, re.DOTALL) is not None


def is_inline(markup: str) -> bool:
    """Whether mark-up is a tag or a comment that stands within a sentence."""
    return is_tag(markup) and tag_name(markup) not in BLOCKS


def tag_name(tag: str) -> str:
    """The name of an element, in small letters."""
    found = re.match(rf"</?({NAME})", tag)
    return found[1].lower() if found else ""


def parts_sentences(markup: str) -> bool:
    """Whether found mark-up parts what is before it from what follows; else it stands within a sentence."""
    return not is_inline(markup) and not CODE.match(markup)
