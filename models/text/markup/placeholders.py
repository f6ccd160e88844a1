"""Placeholders: what stands in a text for something else, and what no translation changes."""

import re
from collections import deque
from collections.abc import Collection, Sequence
from itertools import pairwise
from operator import itemgetter

from heed.models.patterns import regex
from heed.models.text.words import Span

DEEPEST = 8  # braces within braces


def _braces(depth: int) -> str:
    inner = rf"(?:[^{{}}]|{_braces(depth - 1)})" if depth else "[^{}]"
    return rf"\{{{inner}*+\}}"


# The conversions of printf in C, Objective-C, Python, Ruby and gettext, with all their flags, widths and lengths.
WIDTH = r"(?:\*(?:\d+\$)?+|\d++)?+"
LENGTH = r"(?:hh|h|ll|l|L|q|j|z|t|I64|I32|E|O)?"  # each may be the conversion itself: %z of strftime
CONVERSION = (
    rf"%(?:\d+\$|\(\w+\)|<(?!PRI)\w+>)?+[-+#0'_^I:]*+{WIDTH}(?:\.{WIDTH})?+"
    rf"(?:<PRI\w++>|{LENGTH}(?:[sdiufxXcp@]|[a-zA-Z](?!\w)))"
)
# Each reads what it cannot match once, and not from every character on: lines may be megabytes long.
PATTERNS = (
    r"(?:(?:https?|ftp)://|www\.)[^\s<>\"']*[^\s<>\"'.,;:!?)\]]",
    r"(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+",
    # {0}, {name!r:>10}, {:?}, ${HOME}, %{name}, #{x}, {{user.name}}, and messages of ICU with braces in their braces.
    rf"[$%#]?{_braces(DEEPEST)}",
    # %s %-*.*lf %(count)d %% in a row, %1 of Qt and %1% of Boost, %PATH% of Windows.
    # A space is a flag, too, where no number is before the %.
    rf"(?<![\d%])(?:{CONVERSION}|%L?\d{{1,2}}(?!\w)(?:%(?!\d))?|%%)+|%%|%[A-Za-z_]\w*+%"
    rf"|(?<=\d){CONVERSION}(?![^\W\d])|(?<!\d )(?<![\d%])%\x20[-+#0]*+{WIDTH}(?:\.{WIDTH})?+{LENGTH}[a-zA-Z](?!\w)",
    r"(?<!\$)\$(?:[A-Za-z_]\w*+|\([^()\s]*+\)|[@#*?!&](?![\w$]))",
    r"<%(?:(?!%>|<%).)*+%>",  # of ERB, EJS and ASP
    # @count, %count and :count of Drupal and Laravel, as are the names of users and of emoji; \1 of a replacement.
    r"(?<![\w@.])@[A-Za-z_]\w*+|(?<![\w%])(?<!\d )%[A-Za-z_]\w++|(?<![\w:]):[a-z_]\w*+:?(?!\w)|(?<!\\)\\[1-9](?!\d)",
    r"(?<![`\w])(`{1,2})(?![\s`])[^`]*+(?<!\s)\1(?![`\w])",  # code, as in Markdown
    # Options of commands: --color[=WHEN], -o, -lt, -std=c11, -1, +x; time zones; paths.
    r"(?<![\w-])--?[A-Za-z](?:[\w-]*\w)?+(?!-)(?:\[=[^\s\]]++\]|=[^\s,;.)\]'\"]++)?"
    r"|(?<![\w-])-\d++(?::\d++)*+(?![\w-]|[.,]\d)|(?<![\w+])\+[A-Za-z]\w*+(?![\w+])",
    r"(?<![\w/.~<])(?:~|\.{1,2})?/(?:[\w+@~.-]*[\w+@~-]/?)++|(?<!\w)[A-Za-z]:\\[^\s\"'<>|]++",
)
# $1 of the shell, of replacement strings and of MediaWiki; an amount of money is $10, $1.50, $1k and $1 a day.
POSITIONAL = regex(r"(?<![\w$])\$(\d)(?!\w|[.,]\d|\s(?:an?|each|per)\b)")
ESCAPES = r"(?:\\[nrt])+"  # line ends and tabs, as programs write them: they part sentences
QUOTES = dict(zip("\"'`([{<«»‹›“”„‘’‚「『", "\"'`)]}>»«›‹””“’’‘」』", strict=True))  # noqa: RUF001
WORD = regex(r"[0-9A-Z_a-z\u00c0-\u024f]")


def find_kept(line: str, patterns: Sequence[re.Pattern[str]], taken: Sequence[Span] = ()) -> list[Span]:
    """Where the matches of patterns are, from left to right; at one place that of the first pattern, and none empty.

    Args:
        line: A line of text.
        patterns: They.
        taken: Matches of yet another pattern, ahead of the first.
    """
    waiting = deque(taken)
    ahead = [_next(pattern, line, 0) for pattern in patterns]
    spans = list[Span]()
    while matches := [*([waiting[0]] if waiting else []), *(match for match in ahead if match)]:
        spans.append(min(matches, key=itemgetter(0)))
        end = spans[-1][1]
        while waiting and waiting[0][0] < end:
            waiting.popleft()
        ahead = [
            _next(pattern, line, end) if match and match[0] < end else match
            for pattern, match in zip(patterns, ahead, strict=True)
        ]
    return spans


def has_positional(line: str) -> bool:
    """Whether a line has placeholders $1, $2, …: they count from $0 or $1 on, as amounts of money do not."""
    numbers = set(map(int, POSITIONAL.findall(line))) if "$" in line else set[int]()
    return bool(numbers) and numbers | {0} == set(range(max(numbers) + 1))


def _next(pattern: re.Pattern[str], line: str, place: int) -> Span | None:
    return next((match.span() for match in pattern.finditer(line, place) if match[0]), None)


def around(line: str, kept: Sequence[Span]) -> list[str]:
    """The parts of a line before, between and after the protected spans."""
    ends = [0, *(end for span in kept for end in span), len(line)]
    return [line[start:end] for start, end in pairwise(ends)][::2]


def tidied(text: str, spans: Sequence[Span], fixed: Collection[Span] = ()) -> list[Span]:
    """Placeholders with what belongs to them, as spans that neither touch nor overlap.

    To a placeholder belong the Latin letters and digits that it is one word with, the quotation marks or brackets
    around it, and the next placeholder, where no letter is between them.

    Args:
        text: A text.
        spans: What is kept of it, from left to right.
        fixed: Those that stay as they are: tags.
    """
    found = list[Span]()
    for number, span in enumerate(spans):
        if span in fixed:
            found.append(span)
            continue
        high = spans[number + 1][0] if number + 1 < len(spans) else len(text)
        wide = widened(text, span, found[-1][1] if found else 0, high)
        while found and found[-1] not in fixed and not has_letters(text[found[-1][1] : wide[0]]):
            start, _ = found.pop()
            wide = widened(text, (start, wide[1]), found[-1][1] if found else 0, high)
        found.append(wide)
    return found


def widened(text: str, span: Span, low: int, high: int) -> Span:
    """A placeholder, within these limits, with the word it is part of, and with the quotation marks around it."""
    start, end = max(span[0], low), span[1]
    while True:
        if start > low and WORD.match(text[start - 1]):
            start -= 1
        elif end < high and WORD.match(text[end]):
            end += 1
        elif low < start and end < high and QUOTES.get(text[start - 1]) == text[end]:
            start, end = start - 1, end + 1
        else:
            return start, end


def has_letters(text: str) -> bool:
    """Whether a text has something to translate; ½, ² and Ⅳ are numbers."""
    return any(map(str.isalpha, text))
