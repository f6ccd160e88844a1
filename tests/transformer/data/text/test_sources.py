import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from heed.models.errors import DataError
from heed.transformer.data.text.sources import Source, absolute_source, parse_source

WriteLines = Callable[[str, list[str]], str]


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("pairs.tsv", Source(("pairs.tsv",))),
        ("pairs.tsv:2", Source(("pairs.tsv",), 2.0)),
        ("pairs.jsonl.gz:0.5", Source(("pairs.jsonl.gz",), 0.5)),
        ("news.en,news.de", Source(("news.en", "news.de"))),
        ("news.en.zst,news.de:1e1", Source(("news.en.zst", "news.de"), 10.0)),
        ("a:b.tsv", Source(("a:b.tsv",))),
        ("C:/a.en,C:/a.de:3", Source(("C:/a.en", "C:/a.de"), 3.0)),
    ],
)
def test_what_is_written_names_files_and_a_weight(written: str, source: Source) -> None:
    assert parse_source(written) == source


@pytest.mark.parametrize("written", ["pairs.tsv:0", "pairs.tsv:-1", "pairs.tsv:nan", "pairs.tsv:inf"])
def test_a_weight_that_cannot_be_is_refused(written: str) -> None:
    with pytest.raises(DataError, match=f"^{written}: the weight must be a number above 0, not "):
        parse_source(written)


@pytest.mark.parametrize("written", ["a.en,b.de,c.fr", "a.en,", ",a.de"])
def test_other_than_two_files_are_refused(written: str) -> None:
    with pytest.raises(DataError, match=f"^{written}: .*give SOURCE,TARGET"):
        parse_source(written)


def test_one_file_needs_both_sides() -> None:
    with pytest.raises(DataError, match=r"^pairs\.txt: one file has both sides only as \.tsv, \.csv, \.jsonl"):
        parse_source("pairs.txt")


def test_a_file_whose_name_looks_like_more_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.tsv:2", "a,b.tsv"):
        Path(name).write_text("a\tb\n")
        if not name.endswith("2"):
            assert parse_source(name) == Source((name,))
    with pytest.raises(DataError, match="one file has both sides only as"):  # and not x.tsv, twice
        parse_source("x.tsv:2")


def test_names_become_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_source("a.en,b/c.de:0.50") == f"{tmp_path}/a.en,{tmp_path}/b/c.de:0.50"
    assert absolute_source("a.tsv") == f"{tmp_path}/a.tsv"


def test_two_columns_of_a_table_are_read(write_lines: WriteLines) -> None:
    path = write_lines("a.tsv", ["one\teins", " two \tzwei\t0.7\tWikipedia", "\tvier", "five\t"])
    assert list(parse_source(path)) == [("one", "eins"), (" two ", "zwei"), ("", "vier"), ("five", "")]


def test_a_line_of_one_column_is_named(write_lines: WriteLines) -> None:
    path = write_lines("a.tsv", ["one\teins", "two"])
    with pytest.raises(DataError, match=rf"^{path}: line 2 has no tab; write the source, a tab and the target"):
        list(parse_source(path))


def test_objects_are_read(write_lines: WriteLines) -> None:
    path = Path(write_lines("a.jsonl", ['{"tgt": "eins", "src": "one", "score": 1}', "", '{"src": "", "tgt": "x"}']))
    packed = path.with_name("a.jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        assert list(parse_source(str(file))) == [("one", "eins"), ("", "x")]


def test_an_object_without_a_side_is_named(write_lines: WriteLines) -> None:
    path = write_lines("a.jsonl", ['{"src": "one", "target": "eins"}'])
    with pytest.raises(DataError, match=rf"^{path}: line 1 has no text in a field 'tgt' \(its fields: src, target\)"):
        list(parse_source(path))


def test_the_sides_stand_where_a_run_says(write_lines: WriteLines) -> None:
    table = write_lines("a.tsv", ["1\tone\t\teins", "2\ttwo\t\tzwei"])
    assert list(parse_source(table, "2", "4")) == [("one", "eins"), ("two", "zwei")]
    objects = write_lines("a.jsonl", ['{"translation": {"en": "one", "de": "eins"}, "a.b": "x"}'])
    assert list(parse_source(objects, "translation.en", "translation.de")) == [("one", "eins")]
    assert list(parse_source(objects, "a.b", "translation.de")) == [("x", "eins")]
    with pytest.raises(DataError, match=r"line 1 has no text in a field 'translation\.fr'"):
        list(parse_source(objects, "translation.en", "translation.fr"))


def test_rows_with_quotes_have_columns_by_number_or_by_name(write_lines: WriteLines) -> None:
    path = write_lines("a.csv", ["id,de,en", '1,"eins, ""zwei""","one', 'two"', "", "2,drei,three"])
    pairs = [("one\ntwo", 'eins, "zwei"'), ("three", "drei")]
    assert list(parse_source(path, "en", "de")) == pairs
    assert list(parse_source(path, "3", "2")) == [("en", "de"), *pairs]
    with pytest.raises(DataError, match=r"^.*a\.csv: no column 'fr'; the first row has 'id', 'de', 'en'"):
        list(parse_source(path, "en", "fr"))
    with pytest.raises(DataError, match=r"^.*a\.csv: row 1 has no column 4, only 3; mend or delete it"):
        list(parse_source(path, "1", "4"))


BAD = {
    "a.jsonl": (b'{"src": "one", "tgt": "eins"}', [b"{", b"[1]", b'{"src": "x"}', b'{"src": "\xff", "tgt": "x"}']),
    "a.tsv": (b"one\teins", [b"no tab", b"\xff\tx"]),
    "a.csv": (b'one,"eins"', [b"alone", b"\xff,x"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_are_passed_over_and_counted_on_request(tmp_path: Path, name: str) -> None:
    good, bad = BAD[name]
    for wrong in bad:
        path = tmp_path / name
        path.write_bytes(b"\n".join([good, wrong, good]) + b"\n")
        with pytest.raises(DataError, match=rf"^{path}: (line|row) 2"):
            list(parse_source(str(path)))
        counts = Counter[str]()
        assert list(parse_source(str(path), skip_bad=True).pairs(counts)) == [("one", "eins")] * 2
        assert counts == {"bad": 1}


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('one,eins\ntwo,"' + "zwei\n" * 40_000, "utf-8")
    with pytest.raises(DataError, match=rf"^{path}: the row that begins in line 2 is no CSV .* close its quotes"):
        list(parse_source(str(path)))


def test_a_column_without_a_number_is_refused(write_lines: WriteLines) -> None:
    with pytest.raises(DataError, match=r"a\.tsv: a column of a \.tsv is a number, counted from 1, not 'en'"):
        parse_source(write_lines("a.tsv", []), "en", "2")
