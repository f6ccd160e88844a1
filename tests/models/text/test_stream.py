from hypothesis import given
from hypothesis import strategies as st

from heed.models.text.stream import TextStream
from heed.models.tokenizers.lossless import TextTokenizer

LETTERS = st.text("ab\n é\U0001f600", max_size=12)
STOPS = st.lists(st.text("ab\n é", min_size=1, max_size=4), max_size=3)


def streamed(tokenizer: TextTokenizer, ids: list[int], stop: list[str]) -> tuple[list[str], TextStream]:
    stream = TextStream(tokenizer, stop)
    pieces = []
    for token in ids:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.close()], stream


def cut(text: str, stop: list[str]) -> str:
    """The law: the text before what ends first, and of what ends there the longest."""
    for end in range(len(text) + 1):
        begins = [end - len(each) for each in stop if text[:end].endswith(each)]
        if begins:
            return text[: min(begins)]
    return text


@given(st.text())
def test_pieces_are_the_text_whatever_it_is(verbatim: TextTokenizer, text: str) -> None:
    pieces, stream = streamed(verbatim, verbatim.encode(text), [])
    assert "".join(pieces) == text == stream.text


@given(st.lists(st.integers(0, 289), max_size=30))
def test_any_tokens_give_what_they_give_at_once(verbatim: TextTokenizer, ids: list[int]) -> None:
    """Byte tokens in an order that is no UTF-8 too."""
    pieces, stream = streamed(verbatim, ids, [])
    assert "".join(pieces) == verbatim.decode(ids) == stream.text


@given(LETTERS, STOPS)
def test_a_text_ends_before_the_first_stop_string(verbatim: TextTokenizer, text: str, stop: list[str]) -> None:
    pieces, stream = streamed(verbatim, verbatim.encode(text), stop)
    assert "".join(pieces) == stream.text == cut(text, stop)
    assert not any(each in stream.text for each in stop)
    assert stream.stopped == any(each in text for each in stop)


@given(LETTERS, STOPS)
def test_where_it_ends_does_not_depend_on_the_tokens(verbatim: TextTokenizer, text: str, stop: list[str]) -> None:
    one_by_one = [token for character in text for token in verbatim.encode(character)]
    assert streamed(verbatim, one_by_one, stop)[1].text == streamed(verbatim, verbatim.encode(text), stop)[1].text


@given(LETTERS, STOPS)
def test_no_more_is_held_back_than_could_become_a_stop_string(
    verbatim: TextTokenizer, text: str, stop: list[str]
) -> None:
    stream = TextStream(verbatim, stop)
    for token in verbatim.encode(text):
        stream.push(token)
    if not stream.stopped:
        held = text.removeprefix(stream.text)
        assert text == stream.text + held
        assert not held or any(each.startswith(held) for each in stop)


def test_a_character_comes_when_its_last_byte_does(verbatim: TextTokenizer) -> None:
    ids = verbatim.encode("\U0001f600")
    assert len(ids) == 4
    assert streamed(verbatim, ids, [])[0] == ["", "", "", "\U0001f600", ""]
    assert streamed(verbatim, ids[:3], [])[0] == ["", "", "", "\ufffd"]


def test_a_stop_string_spans_tokens(verbatim: TextTokenizer) -> None:
    ids = [token for part in ("the c", "at", " sat") for token in verbatim.encode(part)]
    pieces, stream = streamed(verbatim, ids, ["cat sa"])
    assert (stream.text, stream.stopped) == ("the ", True)
    assert "".join(pieces) == "the "
    assert streamed(verbatim, ids, ["cat x"])[1].text == "the cat sat"
