import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import DataError
from heed.models.system.compression import zstandard
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.text.lines import read_lines
from heed.transformer.data.text.parallel_text import Filter, ParallelText, read_pairs, tokenize


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "text.en"


def test_a_line_ends_at_a_newline_alone(file: Path) -> None:
    """str.splitlines would cut at each of these and put the pairs out of step."""
    line = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg\rh"
    file.write_bytes(f"{line}\nnext\n".encode())
    assert read_lines(file) == [line, "next"]


def test_line_ends_and_marks_of_other_systems_are_no_text(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfone\r\n\r\nthree\r\n")
    assert read_lines(file) == ["one", "", "three"]


def test_the_last_line_needs_no_newline(file: Path) -> None:
    file.write_bytes(b"one\ntwo")
    assert read_lines(file) == ["one", "two"]
    file.write_bytes(b"one\n\n")
    assert read_lines(file) == ["one", ""]
    for nothing in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(nothing)
        assert read_lines(file) == []


def test_gz_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "text.en.gz"
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress("zw\u00f6lf\n".encode()))  # as `cat a.gz b.gz` makes it
    assert read_lines(path) == ["one", "zw\u00f6lf"]


def test_zst_is_decompressed_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.en.zst"
    path.write_bytes(zstandard("").compress("one\nzw\u00f6lf\n".encode()))
    assert read_lines(path) == ["one", "zw\u00f6lf"]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError) as caught:
        read_lines(path)
    assert str(caught.value).startswith(f"{path}: not a complete Zstandard file")


@pytest.mark.parametrize("damage", ["cut short", "no gzip", "a wrong byte"])
def test_a_damaged_gz_is_refused(tmp_path: Path, damage: str) -> None:
    path, data = tmp_path / "text.en.gz", gzip.compress(b"some text\n" * 100)
    wrong = data[:20] + bytes([data[20] ^ 0xFF]) + data[21:]
    path.write_bytes({"cut short": data[:-9], "no gzip": b"some text\n", "a wrong byte": wrong}[damage])
    with pytest.raises(DataError) as caught:
        read_lines(path)
    assert str(caught.value).startswith(f"{path}: not a complete gzip file")


def test_what_is_no_utf_8_is_refused_by_file_line_and_column(file: Path) -> None:
    file.write_bytes("one\nf\u00fcnf\n".encode() + b"sechs \xfc\n")
    with pytest.raises(DataError) as caught:
        read_lines(file)
    assert str(caught.value).startswith(f"{file}: line 3 is not UTF-8 (byte 0xfc at column 7)")


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("1.en", "2.en", "1.de", "2.de")]
    for name, content in zip(names, ("a\nb\n", "c\n", "A\nB\n", "C\n"), strict=True):
        Path(name).write_text(content)
    text = read_pairs(names[:2], names[2:])
    assert (text.src, text.tgt) == (["a", "b", "c"], ["A", "B", "C"])


def test_unequal_numbers_of_lines_are_refused_with_both(tmp_path: Path) -> None:
    src, tgt = tmp_path / "text.en", tmp_path / "text.de"
    src.write_text("a\nb\nc\n")
    tgt.write_text("A\nB\n")
    with pytest.raises(DataError) as caught:
        read_pairs([str(src)], [str(tgt)])
    assert f"{src} has 3 lines and {tgt} has 2" in str(caught.value)
    with pytest.raises(DataError, match=r"has 2 lines and .* has 3"):
        read_pairs([str(tgt)], [str(src)])


def test_unequal_numbers_of_files_are_refused_with_both() -> None:
    with pytest.raises(DataError, match=r"^2 source and 1 target files; give as many --tgt as --src"):
        read_pairs(["1.en", "2.en"], ["1.de"])


def test_files_without_a_line_are_refused(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_pairs([str(file)], [str(file)])
    assert f"{file}: no text;" in str(caught.value)


def test_empty_and_long_pairs_are_left_out_and_counted(digits: Tokenizer) -> None:
    pairs = [("1 2", "2 1"), ("", "3"), ("4", " \t"), ("", ""), ("1 2 3 4", "5"), ("6", "1 2 3 4"), ("1 2 3", "7")]
    text = ParallelText([src for src, _ in pairs], [tgt for _, tgt in pairs])
    flaws: Counter[str] = Counter()
    corpus = tokenize(text, digits, digits, max_length=3, flaws=flaws)
    assert (len(corpus), flaws) == (2, {"empty": 3, "long": 2})
    indices = np.arange(2)
    kept = [digits.decode(side.padded(indices, digits.pad_id).tolist()) for side in (corpus.src, corpus.tgt)]
    assert kept == [["1 2", "1 2 3"], ["2 1", "7"]]


def test_pairs_of_unequal_sides_are_left_out() -> None:
    pairs = [([1] * n_src, [2] * n_tgt) for n_src, n_tgt in ((1, 1), (2, 4), (4, 2), (2, 5), (5, 2), (0, 0), (9, 9))]
    flaws: Counter[str] = Counter()
    src, tgt = ([side for side, _ in pairs], [side for _, side in pairs])
    kept, *sides = Filter(max_length=8, max_ratio=2.0).select(src, tgt, flaws)
    assert kept == [0, 1, 2]
    assert sides == [src[:3], tgt[:3]]
    assert flaws == {"unequal": 2, "empty": 1, "long": 1}


LISTS = st.lists(st.lists(st.integers(4, 30000), min_size=1, max_size=7), min_size=1, max_size=9)


@given(LISTS, st.data())
def test_rows_are_the_lists_with_padding_on_the_right(lists: list[list[int]], data: st.DataObject) -> None:
    others = [[9] * (len(ids) % 3) for ids in lists]  # what stands between them does not matter
    tokens = data.draw(st.sampled_from([Pairs.of(lists, others).src, Pairs.of(others, lists).tgt]))
    assert tokens.lengths.tolist() == [len(ids) for ids in lists]
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), min_size=1, max_size=5))
    first, last = data.draw(st.none() | st.just(2)), data.draw(st.none() | st.just(3))
    rows = tokens.padded(np.array(chosen), 0, first=first, last=last).tolist()
    around = [[] if first is None else [first], [] if last is None else [last]]
    expected = [[*around[0], *lists[i], *around[1]] for i in chosen]
    assert [[token for token in row if token != 0] for row in rows] == expected
    width = max(len(row) for row in expected)
    assert rows == [row + [0] * (width - len(row)) for row in expected]
