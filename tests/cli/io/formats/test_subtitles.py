"""Subtitles: what is not translated passes byte for byte, and pysubs2 reads the same cues."""

from collections.abc import Callable

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.io.formats.subtitles import LINE, Subtitles, find_cues
from heed.cli.io.formats.wrapping import columns, cut, wrap

Fill = Callable[..., bytes]
SRT = """\
1
00:00:01,000 --> 00:00:02,500
Good morning!

2
00:00:03,000 --> 00:00:04,500
I wanted to tell you that the train

3
00:00:04,600 --> 00:00:06,500
leaves at eight o'clock in the morning.

4
00:00:07,000 --> 00:00:09,000
- Are you hungry?
- <i>No, I am tired.</i>

5
00:00:09,500 --> 00:00:10,000
{\\an8}<b>12</b>
"""
VTT = """\
WEBVTT - a title

NOTE
what is --- said

STYLE
::cue { color: red }

intro
01:02.000 --> 01:03.000 align:start line:0%
<v Ann>Salt &amp; pepper</v>
"""
WORDS = st.lists(
    st.sampled_from(["word", "Dog.", "<i>yes</i>", "-", "&lt;", "--", "1", "ab\u00e9", "你好。"]), min_size=1
)
CUES = st.lists(st.lists(WORDS.map(" ".join), min_size=1, max_size=3), max_size=6)


def srt(cues: list[list[str]], newline: str) -> bytes:
    blocks = [
        f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n" + "".join(line + "\n" for line in cue)
        for n, cue in enumerate(cues, start=1)
    ]
    return "\n".join(blocks).replace("\n", newline).encode()


@settings(deadline=None)
@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(st.sampled_from([*SRT.splitlines(), ""])).map(lambda lines: "\n".join(lines).encode())
)
def test_what_is_not_translated_passes_byte_for_byte(fill: Fill, data: bytes) -> None:
    assert fill(Subtitles(), data, lambda text: text) == data


@settings(deadline=None)
@given(CUES, st.sampled_from(["\n", "\r\n"]))
def test_cues_keep_numbers_and_timings_whatever_is_said(fill: Fill, cues: list[list[str]], newline: str) -> None:
    data = srt(cues, newline)
    assert fill(Subtitles(), data, lambda text: text) == data
    found = fill(Subtitles(), data, lambda text: f"Zwei {text} Worte").decode()
    assert found.count(newline) == found.count("\n")
    timings = [line for line in found.splitlines() if "-->" in line]
    assert timings == [line for line in data.decode().splitlines() if "-->" in line]
    assert len(list(find_cues(found))) == len(cues)
    assert all(f"{n}{newline}{timing}" in found for n, timing in enumerate(timings, start=1))


@settings(deadline=None)
@given(CUES)
def test_cues_are_those_that_pysubs2_reads(cues: list[list[str]]) -> None:
    text = srt(cues, "\n").decode()
    expected = pysubs2.SSAFile.from_string(text, "srt", keep_html_tags=True, keep_unknown_html_tags=True)
    found = list(find_cues(text))
    assert [cue.shown for cue in found] == [(each.start / 1000, each.end / 1000) for each in expected]


def test_a_sentence_over_cues_is_translated_whole_and_cut_again(fill: Fill) -> None:
    asked = list[str]()

    def translate(text: str) -> str:
        asked.append(text)
        return text.upper()

    found = fill(Subtitles(), SRT.encode(), translate).decode()
    whole = "I wanted to tell you that the train leaves at eight o'clock in the morning."
    assert asked == ["Good morning!", whole, "Are you hungry?", "No, I am tired."]
    expected = SRT.replace("Good morning!", "GOOD MORNING!").replace("Are you hungry?", "ARE YOU HUNGRY?")
    expected = expected.replace("No, I am tired.", "NO, I AM TIRED.")
    for part in ("I wanted to tell you that the train", "leaves at eight o'clock in the morning."):
        expected = expected.replace(part, part.upper())
    assert found == expected


def test_webvtt_keeps_notes_settings_and_speakers(fill: Fill) -> None:
    found = fill(Subtitles(), VTT.encode(), lambda text: {"Salt & pepper": "Salz & Pfeffer <3"}[text]).decode()
    assert found == VTT.replace("Salt &amp; pepper", "Salz &amp; Pfeffer &lt;3")


def test_a_byte_order_mark_stays_and_what_is_no_utf_8_is_replaced_where_it_is_translated(fill: Fill) -> None:
    cue = b"1\n00:00:01,000 --> 00:00:02,000\n%s\n"
    data = b"\xef\xbb\xbf" + cue % b"caf\xe9" + b"\nNOTE \xff\n"
    found = fill(Subtitles(), data, lambda text: text + "!")
    assert found == data.replace(b"caf\xe9", "caf\ufffd!".encode())


@settings(deadline=None)
@given(
    st.lists(st.text("ab ., 你。", min_size=1), min_size=1).map(" ".join),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
def test_parts_of_a_text_joined_are_the_text(text: str, sizes: list[int]) -> None:
    parts = cut(text, sizes)
    assert len(parts) == len(sizes)
    squeezed = text.replace(" ", "")
    assert "".join(parts).replace(" ", "") in (squeezed, squeezed * len(sizes))


@settings(deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=40))
def test_lines_are_no_longer_than_they_may_be_and_no_more_than_they_must(words: list[str]) -> None:
    lines = wrap(" ".join(words), LINE)
    assert " ".join(lines).split() == words
    assert max(map(columns, lines)) <= LINE
    assert len(lines) <= 2 * len(" ".join(words)) // LINE + 1


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("He said that", "it was late.", True),
        ("He left.", "It was late.", False),
        ("He left, and", "Mary came.", True),
        ("He left", "- Who?", False),
        ("He left", "♪ la la ♪", False),
    ],
)
def test_a_sentence_goes_on_where_nothing_has_ended_it(fill: Fill, first: str, second: str, joined: bool) -> None:
    asked = list[str]()

    def keep(text: str) -> str:
        asked.append(text)
        return text

    fill(Subtitles(), srt([["So."], ["No."], [first], [second], ["Yes."]], "\n"), keep)
    assert (f"{first} {second}" in asked) is joined
