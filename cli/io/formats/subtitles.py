r"""Subtitles: SubRip (.srt) and WebVTT (.vtt).

A reader of our own: pysubs2 writes numbers, timings and tags anew (`00:00:01,5` becomes `00:00:01,500`, `<b>` becomes
`{\b1}` and back, settings of a WebVTT cue are lost), so a file would not pass byte for byte.
"""

# ruff: noqa: RUF001 - the marks of other scripts are meant

import dataclasses
import html
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from heed.cli.io.formats.document import Segment
from heed.cli.io.formats.marks import MarkedText, Piece, PieceKind
from heed.cli.io.formats.wrapping import cut, wrap

TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
TIMING = re.compile(rf"[ \t]*{TIME}[ \t]*-->[ \t]*{TIME}")
TAG = re.compile(r"(?P<close></[^<>\n]*>)|(?P<open><[A-Za-z][^<>\n]*>)|(?P<single><[\d:.]+>|\{\\[^{}\n]*\})")
DASH = re.compile(r"[-‐–—][ \t]*(?=\S)")  # begins what another person says
ENDS = re.compile(r"[.!?…:。！？♪♫*\"”»)\]』」][\W_]*\Z")  # the end of a sentence, of a song's line, of a noise
BEGINS = re.compile(r"\W*(?:[-‐–—♪♫#*(\[<]|>>)")  # nothing goes on with
LINE = 42  # characters, what broadcasters allow
PAUSE = 3.0  # seconds after which a new sentence begins
CUES = 6  # over which a sentence goes at most


@dataclasses.dataclass(frozen=True)
class Cue:
    """What is shown at a time."""

    start: int  # of its text, in characters of the file
    end: int
    shown: tuple[float, float]  # from when to when, in seconds
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What one person says in a cue."""

    before: str  # the dash
    marked: MarkedText
    widths: tuple[int, ...]  # of its lines, in characters


class Subtitles:
    """The grammar of both formats."""

    def __init__(self) -> None:
        self._n_lost = 0

    def charset(self, _: bytes) -> str:
        """See `Grammar`; other charsets are not declared in the file."""
        return "utf-8"

    def warnings(self) -> list[str]:
        """See `Grammar`."""
        return [f"{self._n_lost} cues stay in the source language: their tags were lost"] if self._n_lost else []

    def segments(self, text: str) -> Iterator[Segment]:
        """See `Grammar`: a segment is a cue, or several cues of a sentence."""
        escapes = text.startswith("WEBVTT")
        cues = list(find_cues(text))
        speeches = [_speeches(cue.lines, escapes=escapes) for cue in cues]
        for start, end in _sentences(cues, speeches):
            if end - start > 1:
                whole = [speech for (speech,) in speeches[start:end]]
                yield self._sentence(text, cues[start:end], whole, escapes=escapes).unless_same(text)
            elif any(speech.marked.translatable for speech in speeches[start]):
                yield self._cue(text, cues[start], speeches[start], escapes=escapes).unless_same(text)

    def _cue(self, text: str, cue: Cue, speeches: Sequence[Utterance], *, escapes: bool) -> Segment:
        texts, newline = tuple(speech.marked.text for speech in speeches), _newline(text)

        def fill(*translations: str) -> str:
            lines = []
            for speech, translation in zip(speeches, translations, strict=True):
                if not speech.marked.keeps(translation):
                    self._n_lost += 1
                    return newline.join(cue.lines)
                filled = speech.marked.restored(translation, _escape if escapes else str)
                lines += wrap(speech.before + filled, max(LINE, *speech.widths))
            return newline.join(lines)

        return Segment(cue.start, cue.end, texts, fill)

    def _sentence(self, text: str, cues: Sequence[Cue], speeches: Sequence[Utterance], *, escapes: bool) -> Segment:
        between = [text[cue.end : following.start] for cue, following in pairwise(cues)]
        newline = _newline(text)

        def fill(translation: str) -> str:
            parts = []
            for speech, part in zip(speeches, cut(translation, [sum(each.widths) for each in speeches]), strict=True):
                filled = speech.marked.restored(part, _escape if escapes else str)
                parts.append(newline.join(wrap(speech.before + filled, max(LINE, *speech.widths))))
            return "".join(each for pair in zip(parts, [*between, ""], strict=True) for each in pair)

        return Segment(cues[0].start, cues[-1].end, (" ".join(speech.marked.text for speech in speeches),), fill)


def find_cues(text: str) -> Iterator[Cue]:
    """The cues of a file that have text."""
    lines = [(match.start(), match[0].rstrip("\r\n")) for match in re.finditer(r"[^\n]*\n|[^\n]+\Z", text)]
    timings = [number for number, (_, line) in enumerate(lines) if TIMING.match(line)]
    for number, following in pairwise([*timings, len(lines) + 1]):
        last = number
        # A cue ends at a blank line; where that is missing, before the number of the next.
        while last + 1 < min(following, len(lines)) and lines[last + 1][1].strip():
            last += 1
        if last + 1 == following and last > number and lines[last][1].strip().isdecimal():
            last -= 1
        if last > number:
            start, (begun, line) = lines[number + 1][0], lines[last]
            shown = tuple(line for _, line in lines[number + 1 : last + 1])
            yield Cue(start, begun + len(line), _seconds(lines[number][1]), shown)


def _seconds(timing: str) -> tuple[float, float]:
    match = TIMING.match(timing)
    assert match
    hours, minutes, seconds, parts, *end = (int(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + seconds + parts / 1000, end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000


def _speeches(lines: Sequence[str], *, escapes: bool) -> list[Utterance]:
    """What each person says; each after the first begins with a dash on a line of its own."""
    starts = [0, *(number for number, line in enumerate(lines) if number and DASH.match(TAG.sub("", line)))]
    found = []
    for start, end in pairwise([*starts, len(lines)]):
        dash = DASH.match(lines[start])
        before = dash[0] if dash else ""
        words = [lines[start].removeprefix(before), *lines[start + 1 : end]]
        widths = tuple(len(TAG.sub("", line)) for line in lines[start:end])
        found.append(Utterance(before, MarkedText(list(_pieces(" ".join(words), escapes=escapes))), widths))
    return found


def _pieces(line: str, *, escapes: bool) -> Iterator[Piece]:
    here = 0
    for tag in [*TAG.finditer(line), None]:
        for words in re.findall(r"\s+|\S+(?:\s+\S+)*", line[here : tag.start() if tag else None]):
            yield Piece(PieceKind.TEXT, words, html.unescape(words) if escapes else words)
        if tag:
            kind = {"open": PieceKind.OPEN, "close": PieceKind.CLOSE, "single": PieceKind.SINGLE}[tag.lastgroup or ""]
            yield Piece(kind, tag[0])
            here = tag.end()


def _sentences(cues: Sequence[Cue], speeches: Sequence[Sequence[Utterance]]) -> Iterator[tuple[int, int]]:
    """The ranges of cues that are translated together."""
    texts = ["\n".join(speech.marked.text for speech in each) for each in speeches]
    plain = [len(each) == 1 and each[0].marked.translatable and not each[0].marked.has_marks for each in speeches]
    punctuated = 2 * sum(bool(ENDS.search(text)) for text in texts) > len(texts)
    start = 0
    for number in range(1, len(cues) + 1):
        if (
            number < len(cues)
            and number - start < CUES
            and plain[number - 1]
            and plain[number]
            and cues[number].shown[0] - cues[number - 1].shown[1] <= PAUSE
            and _goes_on(texts[number - 1], cues[number].lines[0], punctuated=punctuated)
        ):
            continue
        yield start, number
        start = number


def _goes_on(text: str, following: str, *, punctuated: bool) -> bool:
    """Whether a sentence goes on in the next cue; in a file without stops, where that begins with a small letter."""
    if BEGINS.match(TAG.sub("", following)):
        return False
    small = re.match(r"\W*[^\W\d_]", TAG.sub("", following))
    if small and small[0][-1].islower():
        return True
    return punctuated and not ENDS.search(text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
