"""What the keeper promises, with a translator that shuffles, drops and repeats words."""

import random
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.arrays import FloatArray
from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translation.keeper import Keeper
from heed.models.tasks.translation.translation import Translation
from heed.models.text.markup.placeholders import has_letters
from heed.models.text.markup.units import Splitter
from heed.models.text.words import Span, word_spans

if TYPE_CHECKING:
    from heed.models.tasks.translation.translator import Translator


class Shuffler:
    """Translates to the words of a text in capitals, in another order, some of them lost or twice."""

    splits = True

    def __init__(self, seed: int, *, exact: bool = False) -> None:
        self._seed, self._exact = seed, exact
        self.aligner = self

    def has_words(self, text: str) -> bool:
        return has_letters(text)

    def unknown(self, text: str) -> list[Span]:
        return [match.span() for match in re.finditer(r"[\U0001f600☃Ж]|[][]", text)]

    def n_best(
        self,
        lines: Sequence[str],
        _: DecodeConfig | None = None,
        n: int = 1,
        *,
        batch_size: int = 64,
        aligned: bool = False,
    ) -> list[list[Translation]]:
        assert batch_size > 0
        return [[self._translate(line, i) for i in range(n)] for line in lines]

    def translate(
        self, lines: Sequence[str], _: DecodeConfig | None = None, *, batch_size: int = 64
    ) -> list[Translation]:
        return [best for (best,) in self.n_best(lines, batch_size=batch_size)]

    def _translate(self, line: str, number: int) -> Translation:
        random_ = random.Random(f"{self._seed} {number} {line}")
        words = [line[slice(*span)] for span in word_spans(line)]
        if not self._exact:
            words = random_.choices(words, k=len(words)) if random_.random() < 0.3 else words
            random_.shuffle(words)
        words = [word if word[:1].isupper() else word.upper() for word in words]
        before, after = (line[: len(line) - len(line.lstrip())], line[len(line.rstrip()) :])
        text = " ".join(words).join((before, after)) if has_letters(line) else line
        return Translation(text, [ord(c) for c in text.replace(" ", "▁")], -1.0, -1.0)

    def pieces(self, tokens: list[int]) -> list[str]:
        return [chr(token) for token in tokens]

    def shares(self, src: str, tgt: str) -> FloatArray | None:
        shape = len(word_spans(src)), len(word_spans(tgt))
        if self._exact:
            return np.eye(*shape, dtype=np.float32)
        return np.random.default_rng(self._seed).random(shape, dtype=np.float32)


def keeper(seed: int, *, exact: bool = False, tags: bool = True, patterns: Sequence[str] = ()) -> Keeper:
    return Keeper(cast("Translator", Shuffler(seed, exact=exact)), patterns, tags=tags)


def kept(line: str, *, exact: bool = True) -> str:
    ((found,),) = keeper(0, exact=exact).n_best([line])
    return found.text


def test_an_address_with_an_unknown_character_is_kept_as_a_whole() -> None:
    """The rest of it would be translated, and the character put where it aligns."""
    (unit,) = Splitter(has_letters, Shuffler(0).unknown).split("look at www.☃.example.com/Ж now", [], [], escaped=False)
    assert [unit.text[slice(*span)] for span in unit.kept] == ["www.☃.example.com/Ж"]
    assert unit.copied == ("☃", "Ж")


TAGS = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<i class='a > b'>",
        "</i>",
        "<br/>",
        "<li>",
        "</li>",
        "<p>",
        "</p>",
        "<!-- no -->",
        "<td>",
        "</td>",
    ]
)
PLACEHOLDERS = st.sampled_from(
    ["%s", "%-*d", "{0}", "{n, plural, one {# x} other {# y}}", "$HOME", "<kbd>C</kbd>", "\\n"]
)
WORDS = st.sampled_from(
    ["red", "car", "house.", "Is", "it", ",", ":", "'", "12", "&amp;", "&nbsp;", "\U0001f600", "☃", "[", "]"]
)
LINES = st.lists(st.tuples(TAGS | PLACEHOLDERS | WORDS, st.sampled_from(["", " "])), max_size=14).map(
    lambda parts: "".join(part + space for part, space in parts)
)
KEPT = re.compile(r"<kbd>C</kbd>|<!-- no -->|<i class='a > b'>|</?\w+/?>|%s|%-\*d|\{0\}|\{n, .*?y\}\}|\$HOME|\\n")


def balanced(text: str) -> bool:
    opened: list[str] = []
    for closes, name in re.findall(r"<(/?)(b|i|li|p|td|kbd)\b[^/]*?>", text):
        if closes:
            if not opened or opened.pop() != name:
                return False
        else:
            opened.append(name)
    return not opened


@given(LINES, st.integers(0, 99), st.integers(1, 3))
def test_nothing_that_is_kept_is_lost_or_doubled(line: str, seed: int, n: int) -> None:
    (best,) = keeper(seed).n_best([line], n=n)
    assert 1 <= len(best) <= n
    for found in best:
        assert sorted(KEPT.findall(found.text)) == sorted(KEPT.findall(line))
        for symbol in "\U0001f600☃[]":
            assert found.text.count(symbol) == line.count(symbol)
        if balanced(line):
            assert balanced(found.text)


@given(LINES, st.integers(0, 99))
def test_a_line_is_translated_as_by_itself(line: str, seed: int) -> None:
    ((alone,),) = keeper(seed).n_best([line])
    _, (together,), _ = keeper(seed).n_best(["A car.", line, "<b>x</b>"])
    assert together == alone


@given(
    st.lists(st.sampled_from(["12", "=", " ", "?!", "%s", "<b>", "</b>", "&nbsp;", "☃", "{x}"]), max_size=8).map(
        "".join
    )
)
def test_a_line_without_a_letter_passes(line: str) -> None:
    if not has_letters(KEPT.sub("", line.replace("&nbsp;", "").replace("{x}", "").replace("<b>", ""))):
        assert kept(line) == line


@given(LINES)
def test_tokens_show_no_names(line: str) -> None:
    ((found,),) = keeper(0, exact=True).n_best([line])
    shown = [found.shown.get(i, chr(token)) for i, token in enumerate(found.tokens)]
    assert not re.search("Tom|Boston|Maria", "".join(shown))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("I see '%s'.", "I SEE '%s' ."),
        ("<ul><li>Dog</li><li>cat</li></ul>", "<ul><li>Dog</li><li>CAT</li></ul>"),
        ("press <kbd>Ctrl</kbd>+<kbd>C</kbd>", "PRESS <kbd>Ctrl</kbd>+<kbd>C</kbd>"),
        ("go&nbsp;now &lt;b&gt;", "GO NOW &lt; B &gt;"),
        ("a &amp; b", "A &amp; B"),
        ("%s: not found", "%s: NOT FOUND"),
        ("usage: %s [%s]", "USAGE : %s [%s]"),
        ("hello.\\nyou", "HELLO .\\nYOU"),
        ("&nbsp;|&nbsp;", "&nbsp;|&nbsp;"),
        ("a \U0001f600 b", "A \U0001f600 B"),
        ("<!-- no --> a b", "<!-- no --> A B"),
        (" <x/>  a b. <y/> ", " <x/>  A B . <y/> "),
        ("<b> a b </b>", "<b> A B </b>"),
        ("use ${1} and $2 of $1", "USE ${1} AND $2 OF $1"),
        ("file $1 is old", "FILE $1 IS OLD"),
        ("it costs $5, or $1.50, or $10", "IT COSTS $ 5 , OR $ 1 . 50 , OR $ 10"),
        ("now $1 a day", "NOW $ 1 A DAY"),
        ("now $3 and $1", "NOW $ 3 AND $ 1"),
        ("½", "½"),
        ("see Ⅳ", "SEE Ⅳ"),
    ],
)
def test_where_things_go(line: str, expected: str) -> None:
    assert kept(line) == expected


def test_what_the_model_does_not_know_is_told() -> None:
    ((found,), (whole,), (name,)) = keeper(0, exact=True, tags=False).n_best(["a ☃ b", "Ж", "Tom ЖЖ go"])
    assert (found.text, found.copied) == ("A ☃ B", ("☃",))
    assert (whole.text, whole.copied) == ("Ж", ("Ж",))
    assert (name.text, name.copied) == ("Tom ЖЖ GO", ("Ж", "Ж"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a x<y b", "A x<y B"),
        ("a 5 &lt; 6 b", "A 5 &lt; 6 B"),
        ("I <3 it", "I <3 IT"),
        ("at AT&amp;T", "AT AT&amp;T"),
        ("see [1] and word[2]", "SEE [1] AND word[2]"),
        ("a [b] c", "A [B] C"),
        ("[b] c", "[B] C"),
        ("a & b", "A & B"),
        ("a * b * c", "A * B * C"),
        ("[[a b]] {c} *d*", "[[A B]] {c} *D*"),
        ("a ] b [ c", "A ] B [ C"),
        ("a [<b>b</b>] c", "A [<b>B</b>] C"),
        ("[b c] A d", "[B C] A D"),
        ("- [b] A", "- [B] A"),
    ],
)
def test_a_symbol_that_the_model_does_not_know_stays_with_what_it_joins(
    monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    monkeypatch.setattr(
        Shuffler, "unknown", lambda _, text: [match.span() for match in re.finditer(r"[][<&{}*]+", text)]
    )
    assert kept(line) == expected


@given(st.lists(st.sampled_from(["a", "b", "word", "[c]", "[d e]", "[f [g] h]"]), min_size=2), st.integers(0, 99))
def test_words_in_brackets_stay_in_brackets(parts: list[str], seed: int) -> None:
    """Brackets that the model does not know enclose words of any translation that has as many."""
    shuffler = Shuffler(seed)
    shuffler.unknown = lambda text: [match.span() for match in re.finditer(r"[][]", text)]  # type: ignore[method-assign]
    ((found,),) = Keeper(cast("Translator", shuffler), (), tags=False).n_best([" ".join(parts)])
    depth = 0
    for each in re.findall(r"[][]", found.text):
        depth += 1 if each == "[" else -1
        assert depth >= 0
    assert found.text.count("[") == found.text.count("]") == " ".join(parts).count("[")
    if sorted(found.text.lower().replace("[", "").replace("]", "").split()) == sorted(
        re.findall(r"\w+", " ".join(parts))
    ):
        assert not re.search(r"\[\s*\]", found.text)


def test_a_mnemonic_goes_to_its_letter() -> None:
    assert [kept(line) for line in ("&go now", "go &now", "r&d", "Tom_x", "g&oing {x}")] == [
        "&GO NOW",
        "GO &NOW",
        "R & D",
        "Tom_x",
        "G&OING {x}",
    ]


def test_an_ampersand_that_the_model_does_not_know_is_an_entity_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shuffler, "unknown", lambda _, text: [match.span() for match in re.finditer("&", text)])
    assert kept("a &amp; b") == "A &amp; B"
