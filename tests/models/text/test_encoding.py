"""Which encodings are told from UTF-8."""

import pytest

from heed.models.text.encoding import other_encoding

ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("text", ["Hi.", "Good morning!\n", "Größe 12", "ab 你好"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_not_utf_8_is_named(text: str, encoding: str) -> None:
    told = other_encoding(text.encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    assert told == f"{name}; convert it: iconv -f {name} -t UTF-8"


@pytest.mark.parametrize(
    "start", [b"", b"\0", b"Good morning!", b"a\0b\n", b"I\0am\0hungry", "你好".encode(), b"\0" * 40, b"\0\r\n\n\0\n "]
)
def test_what_may_be_utf_8_passes(start: bytes) -> None:
    assert other_encoding(start) is None
