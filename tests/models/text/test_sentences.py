# ruff: noqa: RUF001 - the marks of other scripts are meant
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.text.sentences import cut, split_sentences

BITS = st.sampled_from(
    [
        *".!?…。！？\"'”»)(«“ \t\r\n\u2028\u00a0\u3000\x00aA1,;:、",
        "Dr.",
        "J.",
        "3.5",
        "e.g.",
        "U.S.",
        "http://a.b/?c!d",
        "I.",
    ]
)
TEXT = st.lists(BITS | st.text(max_size=4)).map("".join)


@given(TEXT, st.sampled_from([None, "en", "de"]))
def test_the_sentences_of_any_text_are_the_text(line: str, language: str | None) -> None:
    pieces = split_sentences(line, language)
    assert "".join(pieces) == line
    assert all(pieces)
    assert all(piece.strip() or len(pieces) == 1 for piece in pieces)  # none is but white space


@given(TEXT, st.integers(1, 30))
def test_the_parts_of_any_text_are_the_text_and_none_is_too_long(text: str, size: int) -> None:
    parts = list(cut(text, size))
    assert "".join(parts) == text
    assert max(map(len, parts)) <= size


# "|" stands where a sentence ends.
@pytest.mark.parametrize(
    "marked",
    [
        "Hello Dr. Smith. |How are you? |I am fine.",
        'He said: "Go home!" |Then he left.',
        "He said: “Go home!” |“No,” said I.",
        '"Where is it?" he asked. |"Here."',
        "(He left.) |She stayed. |[One.] |Two.",
        "It costs 3.50 dollars, or 1,000.5. |See www.example.com/a.b?x=1!2. |OK.",
        "Go to http://a.com/?q=1! |Write to foo@bar.com. |Then wait.",
        "J. R. R. Tolkien wrote it... and then? |Yes!",
        "Wait... |What?!  |Two spaces.\t|Tab.",
        "This, e.g. Tom, and that, i.e. Mary, etc. |And more.",
        "It was at 5 p.m. |The U.S. Army is big. |I live in the U.S. |It is big.",
        "No. 5 is alive. |Mr. and Mrs. Brown met in St. Louis on Jan. 5. |He said no. |Then 5 came.",
        "_Dr. Seward's Diary._ |*No.* |I *wrote.* |32,7 Mrd. Pfund. |At Ft. Meade, Maj. Fein rose.",
        'It is late. |"We go. "',
        "Il est tard. |« Oui. »",
        "So do I. |Tom does. |Vitamin C. |It is good.",
        "I'm 25. |Tom is 30. |It was in 1990. |We met.",
        "1. First item. |2. Second item.",
        "no capitals here. |really? |yes.",
        "Are you from Yahoo! or Google?",
        " Space before. |Space behind. ",
        "A title\n|A line \n\n|and one\u2028|more\n",
        "M. Dupont est venu. |« Oui ! » dit-il. |Qu'est-ce que c'est ? |Rien.",
        "¿Qué tal? |¡Hola! |El Sr. García vino. |Sí.",
        "Il sig. Rossi è qui. |Ciao!",
        "Pan prof. Nowak, ul. Nowa 5. |Tak.",
        "Привет. |Как дела? |Хорошо!",
        "今日は。|元気ですか？|「はい。」と言った。|そう。",
        "你好！|“好。”|“再见。”",
        "यह है। |वह है।",
        "كيف حالك؟ |أنا بخير.",
    ],
)
def test_a_sentence_ends_where_a_reader_would_end_it(marked: str) -> None:
    assert split_sentences(marked.replace("|", "")) == marked.split("|")


def test_a_number_with_a_stop_is_an_ordinal_in_some_languages() -> None:
    line = "Am 3. Oktober gewann der 1. FC Köln. Es war schön."
    assert split_sentences(line, "de") == ["Am 3. Oktober gewann der 1. FC Köln. ", "Es war schön."]
    line = "I am 25. Tom is 30."
    assert split_sentences(line, "en") == ["I am 25. ", "Tom is 30."]


def test_a_text_is_cut_after_a_clause_or_a_space_where_there_is_one() -> None:
    assert list(cut("one two, three four five", 12)) == ["one two, ", "three four ", "five"]
    assert list(cut("一二三，四五六七", 6)) == ["一二三，", "四五六七"]
    assert list(cut("abcdefgh", 3)) == ["abc", "def", "gh"]
    assert list(cut("short", 9)) == ["short"]
