import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.cli.lines import Line, LineDecoder, read_windows

FEW_BYTES = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"\x00", b"\xff", "\u2028".encode()]) | st.binary())


class Arrivals(io.BufferedIOBase):
    """A stream that gives what has arrived, a chunk at a time, and notes how much was asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.n_read = 0

    def read1(self, size: int = -1, /) -> bytes:
        self.n_read += 1
        return next(self._chunks, b"")


def test_a_line_is_given_before_the_next_is_waited_for() -> None:
    stream = Arrivals([b"one\n", b"two\nthree\n", b"four\n"])
    windows = read_windows(stream, 10)
    assert next(windows) == [b"one"]
    assert stream.n_read == 1
    assert next(windows) == [b"two", b"three"]
    assert stream.n_read == 2


def test_a_line_in_parts_is_given_when_its_newline_arrives() -> None:
    stream = Arrivals([b"on", b"e", b"\ntw", b"o\n"])
    windows = read_windows(stream, 10)
    assert next(windows) == [b"one"]
    assert stream.n_read == 3
    assert list(windows) == [[b"two"]]


def test_what_arrives_together_is_cut_at_the_limit() -> None:
    assert list(read_windows(Arrivals([b"1\n2\n3\n4\n5\n"]), 2)) == [[b"1", b"2"], [b"3", b"4"], [b"5"]]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n", b"a", b"a\nb", b"\r\n", "a\u2028b\x0bc\x85\n".encode()])
def test_only_a_newline_ends_a_line(data: bytes) -> None:
    expected = data.removesuffix(b"\n").split(b"\n") if data else []
    assert [line for window in read_windows(io.BytesIO(data), 3) for line in window] == expected


@given(FEW_BYTES, st.integers(1, 5))
def test_the_lines_of_any_bytes_in_any_chunks_are_those_bytes(parts: list[bytes], limit: int) -> None:
    chunks = [part for part in parts if part]  # an empty one is the end
    data = b"".join(chunks)
    windows = list(read_windows(Arrivals(chunks), limit))
    assert all(1 <= len(window) <= limit for window in windows)
    lines = [line for window in windows for line in window]
    assert b"".join(line + b"\n" for line in lines) == (data if data.endswith(b"\n") or not data else data + b"\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a b", Line("a b", "\n")),
        (b"a b\r", Line("a b", "\r\n")),
        (b"a\r\r", Line("a\r", "\r\n")),
        (b"a\rb", Line("a\rb", "\n")),
        (b"\r", Line("", "\r\n")),
        ("a\u2028b\u2029\x85\x0b\x0c".encode(), Line("a\u2028b\u2029\x85\x0b\x0c", "\n")),
    ],
)
def test_a_line_is_its_words_and_its_ending(line: bytes, expected: Line) -> None:
    decoder = LineDecoder()
    assert decoder.decode(line) == expected
    assert decoder.n_replaced == 0


def test_what_is_no_utf_8_is_replaced_and_its_lines_counted() -> None:
    decoder = LineDecoder()
    lines = [decoder.decode(line) for line in (b"caf\xe9 \xff", b"caf\xc3\xa9", b"\xed\xa0\x80\r")]
    assert [line.words for line in lines] == ["caf\ufffd \ufffd", "café", "\ufffd" * 3]
    assert [line.ending for line in lines] == ["\n", "\n", "\r\n"]
    assert decoder.n_replaced == 2


@given(st.binary().filter(lambda line: b"\n" not in line))
def test_any_bytes_have_words_and_an_ending(line: bytes) -> None:
    decoder = LineDecoder()
    found = decoder.decode(line)
    if not decoder.n_replaced:
        assert (found.words + found.ending).encode() == line + b"\n"
    else:
        assert "\ufffd" in found.words
