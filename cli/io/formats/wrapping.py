"""Lines of subtitles: a text cut into parts and lines at its words."""

import re
import unicodedata
from collections.abc import Sequence

TAG = r"<[^<>\n]*>|\{\\[^{}\n]*\}"
# What no line is cut in: a word with its tags and the space after it, or a sign of a script without spaces with the
# stops after it.
WIDE = r"[\u2e80-\u3000\u3003-\u3007\u3012-\u30ff\u3400-\u9fff\uf900-\ufaff]"
STOPS = r"[\u3001\u3002\u3009\u300b\u300d\u300f\u3011\uff01\uff0c\uff0e\uff1a\uff1b\uff1f\u2026]"
UNIT = re.compile(rf"(?:{TAG})*(?:{WIDE}{STOPS}*(?:{TAG})*\s*|(?:{TAG}|(?!{WIDE})\S)+{STOPS}*\s*)|\s+")
CLAUSE = re.compile(rf"(?:[.,;:!?\u2026]|{STOPS})[\W_]*\Z")
BONUS = 0.15  # of the length: how far a cut may move to the end of a clause


def wrap(text: str, width: int) -> list[str]:
    """A text in as few lines as a width allows, of about equal length."""
    units = UNIT.findall(re.sub(r"\s*\n\s*", " ", text))
    n_lines = len(_lines(units, width))
    lowest, highest = 1, width  # the narrowest width that needs no more lines
    while lowest < highest:
        middle = (lowest + highest) // 2
        if len(_lines(units, middle)) > n_lines:
            lowest = middle + 1
        else:
            highest = middle
    return _lines(units, highest)


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    """A text in parts of about these sizes, cut between words, rather at the end of a clause.

    Where there are fewer words than parts, parts repeat the whole text.
    """
    units = UNIT.findall(text)
    if len(units) < len(sizes):
        return [text] * len(sizes)
    ends = [0]  # of the units, in columns
    for unit in units:
        ends.append(ends[-1] + columns(unit))
    parts, start, total, share = list[str](), 0, sum(sizes), 0
    for number, size in enumerate(sizes[:-1], start=1):
        share += size
        target = ends[-1] * share / total
        places = range(start + 1, len(units) - (len(sizes) - number) + 1)

        def cost(place: int, target: float = target) -> float:
            return abs(ends[place] - target) - BONUS * ends[-1] * bool(CLAUSE.search(units[place - 1].rstrip()))

        end = min(places, key=cost)
        parts.append("".join(units[start:end]).strip())
        start = end
    return [*parts, "".join(units[start:]).strip()]


def columns(text: str) -> int:
    """How wide a text without its tags is on the screen."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in re.sub(TAG, "", text))


def _lines(units: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for unit in units:
        if lines[-1].strip() and columns((lines[-1] + unit).rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += unit
    return [*lines[:-1], lines[-1].rstrip()]
