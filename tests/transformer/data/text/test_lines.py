import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.cli.io.byte_lines import read_windows

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
    assert next(windows) == [b"one\n"]
    assert stream.n_read == 1
    assert next(windows) == [b"two\n", b"three\n"]
    assert stream.n_read == 2


def test_a_line_in_parts_is_given_when_its_newline_arrives() -> None:
    stream = Arrivals([b"on", b"e", b"\ntw", b"o\n"])
    windows = read_windows(stream, 10)
    assert next(windows) == [b"one\n"]
    assert stream.n_read == 3
    assert list(windows) == [[b"two\n"]]


def test_what_arrives_together_is_cut_at_the_limit() -> None:
    found = list(read_windows(Arrivals([b"1\n2\n3\n4\n5\n"]), 2))
    assert found == [[b"1\n", b"2\n"], [b"3\n", b"4\n"], [b"5\n"]]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n", b"a", b"a\nb", b"\r\n", "a\u2028b\x0bc\x85\n".encode()])
def test_only_a_newline_ends_a_line(data: bytes) -> None:
    assert [line for window in read_windows(io.BytesIO(data), 3) for line in window] == list(io.BytesIO(data))


@given(FEW_BYTES, st.integers(1, 5))
def test_the_lines_of_any_bytes_in_any_chunks_are_those_bytes(parts: list[bytes], limit: int) -> None:
    chunks = [part for part in parts if part]  # an empty one is the end
    windows = list(read_windows(Arrivals(chunks), limit))
    assert all(1 <= len(window) <= limit for window in windows)
    lines = [line for window in windows for line in window]
    assert lines == list(io.BytesIO(b"".join(chunks)))
