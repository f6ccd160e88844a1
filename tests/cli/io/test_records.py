"""What of a line is translated: each format against the bytes that must pass."""

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.cli.io.records import Decoder, Jsonl, Plain, Record, Tsv, join_paragraphs
from heed.models.errors import DataError

LINE = st.builds(lambda line, end: line.replace(b"\n", b"") + end, st.binary(), st.sampled_from([b"\n", b"\r\n", b""]))
JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("line", "words", "after"),
    [
        (b"a b\n", "a b", b"\n"),
        (b"a b\r\n", "a b", b"\r\n"),
        (b"a\r\r\n", "a\r", b"\r\n"),
        (b"a\rb\n", "a\rb", b"\n"),
        (b"\r\n", "", b"\r\n"),
        (b"a\r", "a\r", b""),
        ("a\u2028b\u2029\x85\x0b\x0c\n".encode(), "a\u2028b\u2029\x85\x0b\x0c", b"\n"),
    ],
)
def test_a_line_is_its_words_and_its_ending(line: bytes, words: str, after: bytes) -> None:
    record = Plain(Decoder(strict=True)).parse(line)
    assert (record.words, record.before, record.after) == (words, b"", after)


def test_what_is_no_utf_8_is_replaced_and_its_lines_counted() -> None:
    decoder = Decoder()
    lines = [Plain(decoder).parse(line) for line in (b"caf\xe9 \xff", b"caf\xc3\xa9", b"\xed\xa0\x80\r\n")]
    assert [line.words for line in lines] == ["caf\ufffd \ufffd", "café", "\ufffd" * 3]
    assert decoder.n_replaced == 2


@given(LINE)
def test_any_line_without_its_words_is_the_rest(line: bytes) -> None:
    decoder = Decoder()
    record = Plain(decoder).parse(line)
    assert decoder.n_replaced or record.filled(record.words) == line
    ending = b"\r\n" if line.endswith(b"\r\n") else b"\n" if line.endswith(b"\n") else b""
    assert record.filled("X\nY") == b"X Y" + ending


@given(st.lists(st.binary().filter(lambda cell: not {9, 10, 13} & set(cell)), min_size=1, max_size=5), st.data())
def test_the_other_columns_pass_byte_for_byte(cells: list[bytes], data: st.DataObject) -> None:
    column = data.draw(st.integers(1, len(cells)))
    ending = data.draw(st.sampled_from([b"\n", b"\r\n", b""]))
    decoder = Decoder()
    record = Tsv(decoder, column).parse(b"\t".join(cells) + ending)
    assert decoder.n_replaced or record.words.encode() == cells[column - 1]
    cells[column - 1] = b"a b c"
    assert record.filled("a\tb\nc") == b"\t".join(cells) + ending


@given(
    st.dictionaries(st.text(), JSON_VALUE, max_size=4), st.text(), st.booleans(), st.sampled_from([None, 1]), st.data()
)
def test_the_other_fields_pass_byte_for_byte(
    others: dict[str, object], words: str, ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    field = data.draw(st.text())
    items = [(key, value) for key, value in others.items() if key != field]
    items.insert(data.draw(st.integers(0, len(items))), (field, words))
    space = " \t" if indent else ""
    line = json.dumps(dict(items), ensure_ascii=ascii_only, separators=(f"{space},{space}", f"{space}:{space}"))
    record = Jsonl(Decoder(strict=True), field).parse(f"{space}{line}{space}\n".encode())
    assert record.words == words
    literal = json.dumps(words, ensure_ascii=ascii_only).encode()
    assert record.before + literal + record.after == f"{space}{line}{space}\n".encode()
    filled = record.filled('"x"\n')
    assert filled == record.before + b'"\\"x\\"\\n"' + record.after
    assert json.loads(filled) == dict(items) | {field: '"x"\n'}


@given(
    st.lists(st.text(), min_size=1, max_size=4),
    st.text(),
    st.dictionaries(st.text(), JSON_VALUE, max_size=3),
    st.data(),
)
def test_a_field_within_a_field_is_found_and_the_rest_passes(
    path: list[str], words: str, others: dict[str, object], data: st.DataObject
) -> None:
    path = [name.replace(".", "") for name in path]
    value: object = words
    for name in reversed(path):
        value = {key: other for key, other in others.items() if key not in (name, ".".join(path))} | {name: value}
    line = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    record = Jsonl(Decoder(strict=True), ".".join(path)).parse(line.encode())
    assert record.words == words
    found = json.loads(record.filled(f"{words}!"))
    for name in path:
        assert list(found) == list(value)  # type: ignore[call-overload]
        found, value = found[name], value[name]  # type: ignore[index]
    assert found == f"{words}!"


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ('{"a.b": "x", "a": {"b": "y"}}', "a.b", "x"),
        ('{"a": {"b": "y"}, "b": "z"}', "a.b", "y"),
        ('{"a": {"b": "x"}, "a": {"b": "y"}}', "a.b", "y"),
    ],
)
def test_a_field_of_just_that_name_goes_before_one_within_another(line: str, field: str, words: str) -> None:
    record = Jsonl(Decoder(), field).parse(line.encode())
    assert record.words == words
    assert record.before + json.dumps(words).encode() + record.after == line.encode()


def test_what_is_no_utf_8_in_another_field_passes() -> None:
    decoder = Decoder(strict=True)
    record = Jsonl(decoder, "text").parse(b'{"id": "\xff", "text": "a", "n": 1e5000, "big": ' + b"9" * 5000 + b"}\n")
    assert record.filled("b") == b'{"id": "\xff", "text": "b", "n": 1e5000, "big": ' + b"9" * 5000 + b"}\n"
    with pytest.raises(DataError):
        Jsonl(decoder, "text").parse(b'{"text": "\xff"}\n')
    lenient = Decoder()
    assert Jsonl(lenient, "text").parse(b'{"text": "a\xff \\ud800"}').words == "a\ufffd \ufffd"
    assert lenient.n_replaced == 1


def test_of_a_field_that_is_there_twice_the_last_counts() -> None:
    record = Jsonl(Decoder(), "text").parse(b'{"text": 1, "text": "a"}')
    assert record.filled("b") == b'{"text": 1, "text": "b"}'


@pytest.mark.parametrize(
    "form", [Plain(Decoder()), Tsv(Decoder(), 3), Jsonl(Decoder(), "text")], ids=["lines", "tsv", "jsonl"]
)
@pytest.mark.parametrize("line", [b"\n", b"\r\n", b" \n", b"", b"  "])
def test_a_blank_line_passes_in_every_format(form: Plain | Tsv | Jsonl, line: bytes) -> None:
    record = form.parse(line)
    assert record.words.strip() == ""
    assert record.filled(record.words) == line


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"text": "a"', "not JSON"),
        (b"a", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object with a field 'text'"),
        (b'{"Text": "a"}', "not an object with a field 'text'"),
        (b'{"text": 5}', "the field 'text' is not text"),
        (b'{"text": ["a"]}', "the field 'text' is not text"),
    ],
)
def test_a_line_that_has_no_such_field_is_refused(line: bytes, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        Jsonl(Decoder(), "text").parse(line)
    assert str(caught.value).startswith(complaint)


def test_a_line_that_has_no_such_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"^no column 3, only 2; correct the line or choose another --column$"):
        Tsv(Decoder(), 3).parse(b"a\tb\n")


def records(lines: Sequence[str]) -> list[Record]:
    return [Plain(Decoder()).parse(line.encode() + b"\n") for line in lines]


@given(st.lists(st.sampled_from(["", " ", "a b", " c ", "d."])), st.integers(1, 4))
def test_lines_between_blank_ones_are_a_paragraph_however_they_arrive(lines: list[str], size: int) -> None:
    windows = [records(lines[start : start + size]) for start in range(0, len(lines), size)]
    found = [record for window in join_paragraphs(windows) for record in window]
    # The words are the input's, in order; where a blank line stood, one stands.
    assert [word for record in found for word in record.words.split()] == [
        word for line in lines for word in line.split()
    ]
    assert [record.words for record in found if not record.words.strip()] == [
        line for line in lines if not line.strip()
    ]
    full = [bool(record.words.strip()) for record in found]
    assert (True, True) not in itertools.pairwise(full)


def test_a_paragraph_is_joined_by_spaces() -> None:
    (window,) = join_paragraphs([records(["  One two", "three.  ", "  Four."])])
    assert [record.words for record in window] == ["  One two three. Four."]
