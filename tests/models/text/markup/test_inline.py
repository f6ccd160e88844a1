import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.arrays import FloatArray
from heed.models.text.markup.inline import NAMES, StrippedLine, best_run, keeps_names, put_back, take_out
from heed.models.text.markup.placeholders import PATTERNS, around, find_kept
from heed.models.text.markup.tags import scan
from heed.models.text.words import word_spans

USUAL = [re.compile(pattern, re.DOTALL) for pattern in PATTERNS]


def spans(line: str) -> list[tuple[int, int]]:
    return find_kept(line, USUAL, scan(line)[0])


def shares(src: str, tgt: str, pairs: dict[str, str]) -> FloatArray:
    """What a dictionary says that words become."""
    src_words, tgt_words = ([text[slice(*span)] for span in word_spans(text)] for text in (src, tgt))
    return np.array([[float(pairs.get(s, s) == t) for t in tgt_words] for s in src_words], dtype=np.float32)


def kept(line: str) -> list[str]:
    return [line[slice(*span)] for span in spans(line)]


def without_kept(line: str) -> str:
    return "".join(around(line, spans(line)))


def taken_out(line: str, turn: int = 0) -> StrippedLine | None:
    return take_out(line, spans(line), turn)


@given(st.lists(st.tuples(st.integers(-8, 8) | st.just(-np.inf), st.booleans(), st.booleans()), max_size=9))
def test_the_best_run_is_the_best_of_all(words: list[tuple[float, bool, bool]]) -> None:
    gains = np.array([gain / 8 for gain, *_ in words], dtype=np.float32)
    first, last = (np.array([word[i] for word in words], dtype=bool) for i in (1, 2))
    runs = itertools.combinations(range(len(words) + 1), 2)
    sums = [float(gains[i:j].sum()) for i, j in runs if first[i] and last[j - 1]]
    found = best_run(gains, first, last)
    if found is None:
        assert max(sums, default=-np.inf) == -np.inf
        return
    total, (start, end) = found
    assert total == max(sums)
    assert gains[start:end].sum() == total
    assert first[start]
    assert last[end - 1]


@pytest.mark.parametrize(
    ("line", "translation", "expected"),
    [
        ("The <b>red car</b> is old.", "Alt ist das rote Auto.", "Alt ist das <b>rote Auto</b>."),
        ("<p>The <i>car</i>.</p>", "Das Auto.", "<p>Das <i>Auto</i>.</p>"),
        ("<a><b>car</b></a> old", "alt Auto", "alt <a><b>Auto</b></a>"),
        ("<b>red</b> <i>car</i>", "Auto rote", "<i>Auto</i> <b>rote</b>"),
        ("red<br/> car", "rote Auto", "rote<br/> Auto"),
        ("<hr>red car", "rote Auto", "<hr>rote Auto"),
        ("red car<hr/>", "rote Auto", "rote Auto<hr/>"),
        ("<b>red car", "rote Auto", "<b>rote Auto"),
        ("red</b> car", "rote Auto", "rote</b> Auto"),
        ("the <b></b>car", "das Auto", "das <b></b>Auto"),
        ("<b><i>red</b> car</i>", "rote Auto", "<b><i>rote</b> Auto</i>"),
        ("{x} car", "Tom Auto", "{x} Auto"),
        ("<b>{x}</b> car of {x}", "Auto Boston Tom", "Auto {x} <b>{x}</b>"),
    ],
)
def test_mark_up_goes_where_its_words_go(line: str, translation: str, expected: str) -> None:
    marked = taken_out(line)
    assert marked is not None
    pairs = {"red": "rote", "car": "Auto", "is": "ist", "The": "Das", "the": "das", "old": "alt"}
    found = put_back(marked, translation, shares(marked.text, translation, pairs))
    assert found == expected


TAGS = st.sampled_from(["<b>", "</b>", "<i>", "</i>", "<br/>", "<a href='x'>", "</a>"])
LINES = st.lists(TAGS | st.sampled_from(["red ", "car ", "house. ", ", ", "{x} "]), max_size=14).map("".join)


def balanced(text: str) -> bool:
    opened: list[str] = []
    for tag in re.findall(r"<(/?)(\w+)[^>]*?(/?)>", text):
        closes, name, single = tag
        if closes:
            if not opened or opened.pop() != name:
                return False
        elif not single:
            opened.append(name)
    return not opened


@given(LINES, st.lists(st.sampled_from(["rote", "Auto", "Haus.", "x,"]), max_size=6), st.integers(0, 99))
def test_nothing_is_lost_and_what_was_balanced_stays_so(line: str, words: list[str], seed: int) -> None:
    marked = taken_out(line)
    assert marked is not None
    words += marked.names
    random.Random(seed).shuffle(words)
    translation = " ".join(words)
    n_words = [len(word_spans(text)) for text in (marked.text, translation)]
    found = put_back(marked, translation, np.random.default_rng(seed).random(n_words, dtype=np.float32))
    assert sorted(kept(found)) == sorted(kept(line))
    assert without_kept(found) == re.sub("|".join(marked.names) or "(?!)", "", translation)
    if balanced(line):
        assert balanced(found)
    assert without_kept(put_back(marked, translation, None)) == without_kept(found)


def test_names_are_none_of_the_line_s() -> None:
    marked = taken_out("{x} and Tom, {x}")
    assert marked is not None
    assert marked.text == "Boston and Tom, Maria"
    assert marked.names == {"Boston": "{x}", "Maria": "{x}"}
    again = taken_out("{x} and Tom, {x}", turn=1)
    assert again is not None
    assert again.text == "Maria and Tom, Peter"
    assert taken_out("{x}" * (len(NAMES) + 1)) is None
    assert taken_out("a{x}b") == taken_out("a {x} b")


@pytest.mark.parametrize(
    ("translation", "expected"), [("Tom ist da.", True), ("Toms Haus", False), ("da", False), ("Tom und Tom", False)]
)
def test_a_name_must_come_once(translation: str, expected: bool) -> None:
    marked = taken_out("{x} is there.")
    assert marked is not None
    assert keeps_names(marked, translation) == expected
