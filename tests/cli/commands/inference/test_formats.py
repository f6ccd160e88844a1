"""What `heed translate` reads and writes besides plain lines, through the command."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.models.decoding.config import DecodeConfig
from heed.models.errors import HeedError
from heed.models.system.compression import zstandard
from heed.models.tasks.translation.keeper import Keeper
from heed.models.tasks.translation.translator import Translator

Heed = Callable[..., Result]
MARK = "\ufeff".encode()


@pytest.fixture(scope="session")
def lines(digit_lines: Callable[[int, int], list[str]]) -> list[str]:
    return digit_lines(12, 5)


@pytest.fixture
def translate(heed: Heed, bundle: Path) -> Callable[..., bytes]:
    """Translates bytes by the command, which must say nothing on stderr."""

    def run(stdin: bytes, *arguments: object, stderr: str = "") -> bytes:
        result = heed("translate", "-m", bundle, "--max-length", 6, "--threads", 1, *arguments, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        assert result.stderr == stderr
        return result.stdout_bytes

    return run


def text(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


# Bytes


def test_a_byte_order_mark_is_left_out_of_each_input(translate: Callable[..., bytes], tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    plain.write_bytes(b"1 2\n")
    marked.write_bytes(MARK + b"1 2\n")
    note = f"{marked} begins with a byte-order mark, which was removed\n"
    found = translate(b"", "-i", marked, "-i", plain, stderr=note)
    assert found == translate(b"1 2\n1 2\n")
    note = "stdin begins with a byte-order mark, which was removed\n"
    assert translate(MARK, stderr=note) == b""
    assert translate(MARK + b"\n", stderr=note) == b"\n"


@pytest.mark.parametrize("place", [0, 1, 5, 70])
def test_strict_stops_at_the_first_line_that_is_no_utf_8(heed: Heed, bundle: Path, tmp_path: Path, place: int) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"\n" * place + b"caf\xe9\n1 2\n")
    result = heed("translate", "-m", bundle, "--strict", "--batch-size", 1, "-i", source)
    assert result.exit_code == 3
    assert result.stdout_bytes == b"\n" * place
    assert result.stderr == (
        f"Error: {source}: line {place + 1}: not UTF-8; convert it (iconv), or leave out --strict\n"
    )


# Paragraphs


def test_a_document_s_paragraphs_are_lines(translate: Callable[..., bytes], lines: list[str]) -> None:
    a, b, c, d = (f"{line}." for line in lines[:4])
    wrapped = f"\n{a} {b[:4]}\n{b[4:].strip()} \n \n\n  {c}\n{d}".encode()
    whole = f"\n{a} {b[:4].strip()} {b[4:].strip()}\n \n\n  {c} {d}".encode()
    expected = translate(whole)
    assert translate(wrapped, "--document") == expected
    assert expected.count(b"\n") == 4
    returned = wrapped.replace(b"\n", b"\r\n")
    assert translate(returned, "--document") == expected.replace(b"\n", b"\r\n")


# Columns and fields


def test_a_column_is_translated_and_the_rest_passes(translate: Callable[..., bytes], lines: list[str]) -> None:
    rows = [b"%d\t%s\t\xff\x00 \t" % (number, line.encode()) for number, line in enumerate(lines)]
    expected = translate(text(lines)).splitlines()
    found = translate(b"\r\n".join([*rows, b""]), "--input-format", "tsv", "--column", 2)
    assert found == b"".join(b"%d\t%s\t\xff\x00 \t\r\n" % (number, line) for number, line in enumerate(expected))
    first = translate(b"\t".join([lines[0].encode(), b"x"]), "--input-format", "tsv")
    assert first == expected[0] + b"\tx"


def test_a_field_is_translated_and_the_rest_passes(translate: Callable[..., bytes], lines: list[str]) -> None:
    def objects(texts: list[str]) -> bytes:
        return "".join(
            f'{{"n": {number}.50e2,"quote" : {json.dumps(found)}, "tags":["é", null] }}\n'
            for number, found in enumerate(texts)
        ).encode()

    expected = translate(text(lines)).decode().splitlines()
    assert translate(objects(lines), "--input-format", "jsonl", "--field", "quote") == objects(expected)


def test_the_lines_of_a_field_stay_lines(translate: Callable[..., bytes], lines: list[str]) -> None:
    one, two = translate(text(lines[:2])).decode().splitlines()
    found = translate(json.dumps({"text": f"{lines[0]}\n\n{lines[1]}\n"}).encode(), "--input-format", "jsonl")
    assert json.loads(found) == {"text": f"{one}\n\n{two}\n"}


@pytest.mark.parametrize(
    ("arguments", "bad", "complaint"),
    [
        (["tsv", "--column", 2], b"alone", "no column 2, only 1; correct the line or choose another --column"),
        (["jsonl"], b'{"Text": ""}', "not an object with a field 'text'; correct the line or choose another --field"),
        (
            ["jsonl"],
            b"{",
            "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); correct the line",
        ),
    ],
)
def test_a_line_that_has_no_such_part_stops_after_those_before(
    heed: Heed, bundle: Path, tmp_path: Path, arguments: list[object], bad: bytes, complaint: str
) -> None:
    source, good = tmp_path / "in", b"x\t1 2\n" if arguments[0] == "tsv" else b'{"text": "1 2"}\n'
    source.write_bytes(good * 3 + bad + b"\n" + good)
    result = heed("translate", "-m", bundle, "-i", source, "--input-format", *arguments)
    assert result.exit_code == 3
    assert result.stdout_bytes.count(b"\n") == 3
    assert result.stderr == f"Error: {source}: line 4: {complaint}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--column", 2], "--column needs --input-format tsv or csv."),
        (["--field", "a"], "--field needs --input-format jsonl."),
        (["--input-format", "tsv", "--document"], "--document needs --input-format lines."),
        (["--input-format", "jsonl", "--json"], "--json and --n-best need --input-format lines."),
        (["--input-format", "tsv", "--n-best", 2], "--json and --n-best need --input-format lines."),
        (["--n-best", 5], "--n-best 5 needs a --beam-size of at least 5, not 4."),
        (["--input-format", "csv", "--document"], "--document needs --input-format lines."),
        (["--input-format", "po", "--json"], "--json and --n-best need --input-format lines."),
        (["--input-format", "tsv", "--column", "a"], "--column of tsv is a number; only a csv's first row has names."),
        (["--input-format", "csv", "--column", "0"], "'0' is no column; they are counted from 1."),
        (["--all"], "--all needs --input-format po."),
        (["--skip-bad"], "--skip-bad needs --input-format jsonl or tsv."),
        (["--input-format", "srt", "--shard", "1/2"], "srt is not read by lines; part the files instead."),
        (["-o", "/"], "/ is a directory, and stdin has no name in it; give a file to -o."),
        (["--shard", "1/2"], "--shard needs files (-i), because it counts their lines first."),
        (["--shard", "0/2"], "'0/2' is not one of 1/2 to 2/2."),
        (["--shard", "3/2"], "'3/2' is not one of 1/2 to 2/2."),
        (["--shard", "two"], "'two' is not one of 1/n to n/n."),
        (["--resume"], "--resume needs an output file (-o) to continue."),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_a_usage_error(
    heed: Heed, bundle: Path, arguments: list[object], complaint: str
) -> None:
    result = heed("translate", "-m", bundle, *arguments, stdin=b"1 2\n")
    assert result.exit_code == 2
    assert result.stdout_bytes == b""
    assert complaint in " ".join(result.stderr.split())


# Objects and lists


def test_objects_hold_what_the_translator_found(
    translate: Callable[..., bytes], bundle: Path, lines: list[str]
) -> None:
    translator = Translator.load(bundle, threads=1)
    sources = [*lines, "", " ", f"{lines[0]}. {lines[1]}!"]
    expected = Keeper(translator, (), tags=False).n_best(sources, DecodeConfig(max_length=6), 3)
    found = [json.loads(line) for line in translate(text(sources), "--json", "--n-best", 3).splitlines()]
    assert [each["source"] for each in found] == sources
    for each, (best, *others) in zip(found, expected, strict=True):
        assert [each["translation"], each["tokens"]] == [best.text, translator.pieces(best.tokens)]
        assert each["score"] == pytest.approx(best.score, abs=1e-6)
        assert [other["translation"] for other in each["alternatives"]] == [other.text for other in others]
    pieces = "".join(found[0]["tokens"]).replace("\u2581", " ").strip()
    assert pieces == found[0]["translation"]
    one = translate(text(sources), "--json", "--beam-threshold", "off")
    alone = [json.loads(line) for line in one.splitlines()]
    assert alone == [
        {key: each[key] for key in ("source", "translation", "score", "confidence", "doubts", "tokens")}
        for each in found
    ]


def test_a_list_of_the_best_is_numbered_as_by_moses(translate: Callable[..., bytes], lines: list[str]) -> None:
    found = translate(text([lines[0], "", lines[1]]), "--n-best", 4).decode().splitlines()
    rows = [line.split(" ||| ") for line in found]
    assert [number for number, _, _ in rows] == ["0"] * 4 + ["1"] + ["2"] * 4
    assert rows[4][1] == ""
    for first in (0, 5):
        scores = [float(score) for _, _, score in rows[first : first + 4]]
        assert scores == sorted(scores, reverse=True)
        assert len({words for _, words, _ in rows[first : first + 4]}) > 1
    best = translate(text(lines[:2]), "--beam-threshold", "off").decode().splitlines()
    assert [rows[0][1], rows[5][1]] == best


# Compressed files


def test_compressed_files_hold_what_plain_ones_would(
    translate: Callable[..., bytes], tmp_path: Path, lines: list[str]
) -> None:
    source, output = tmp_path / "in.gz", tmp_path / "out.gz"
    source.write_bytes(gzip.compress(text(lines[:5])) + gzip.compress(text(lines[5:])))
    # Quiet: which lines of this network are doubtful is another matter, and differs between processors.
    assert translate(b"", "-i", source, "-o", output, "--batch-size", 1, "--quiet") == b""
    assert gzip.decompress(output.read_bytes()) == translate(text(lines))
    assert translate(b"", "-i", source) == translate(text(lines))
    translate(b"", "-o", tmp_path / "empty.gz")
    assert gzip.decompress((tmp_path / "empty.gz").read_bytes()) == b""


def test_zstandard_is_read_and_written_where_it_is_there(
    translate: Callable[..., bytes], tmp_path: Path, lines: list[str]
) -> None:
    try:
        zstd = zstandard("test")
    except HeedError:
        pytest.skip("there is no module for it")
    source, output = tmp_path / "in.zst", tmp_path / "out.zst"
    source.write_bytes(zstd.compress(text(lines[:5])) + zstd.compress(text(lines[5:])))
    assert translate(b"", "-i", source, "-o", output, "--quiet") == b""  # see above
    assert zstd.decompress(output.read_bytes()) == translate(text(lines))


def test_without_a_module_for_it_zstandard_is_refused(
    heed: Heed, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    source = tmp_path / "in.zst"
    source.touch()
    for arguments in (["-i", source], ["-o", tmp_path / "out.zst"]):
        result = heed("translate", "-m", bundle, *arguments, stdin=b"1 2\n")
        assert result.exit_code == 1
        assert ".zst needs a module; pip install 'heed[zst]', or use .gz" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.zst"]


@pytest.mark.parametrize("damage", ["cut", "changed", "other"])
def test_a_damaged_file_is_told_after_the_lines_before(
    heed: Heed, bundle: Path, tmp_path: Path, damage: str, lines: list[str]
) -> None:
    source = tmp_path / "in.gz"
    whole = gzip.compress(text(lines))
    source.write_bytes({"cut": whole[:-4], "changed": whole[:-8] + b"\0" * 8, "other": text(lines)}[damage])
    result = heed("translate", "-m", bundle, "-i", source, "--max-length", 6)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"Error: {source}: damaged: ")
    assert result.stderr.endswith("; get the file again\n")
    assert result.stdout_bytes.count(b"\n") == (0 if damage == "other" else len(lines))
