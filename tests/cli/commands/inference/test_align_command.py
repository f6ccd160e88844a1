"""`heed align` and `heed translate --alignments`, with the default model."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]
Write = Callable[[str, list[str]], str]
ENGLISH = ["The red car is old.", "", "We sing. I bought a book yesterday!"]
GERMAN = ["Das rote Auto ist alt.", "", "Wir singen. Gestern habe ich ein Buch gekauft!"]


def named(line: str, source: str, text: str) -> set[tuple[str, str]]:
    """The words of Pharaoh's pairs."""
    pairs = [pair.split("-") for pair in line.split()]
    return {(source.split()[int(i)], text.split()[int(j)]) for i, j in pairs}


def test_each_pair_of_lines_gets_a_line_of_pairs(heed: Run, write_lines: Write) -> None:
    result = heed("align", "--src", write_lines("en", ENGLISH), "--tgt", write_lines("de", GERMAN))
    assert result.exit_code == 0, result.stderr
    first, blank, last = result.stdout.splitlines()
    assert blank == ""
    assert {("red", "rote"), ("car", "Auto"), ("old.", "alt.")} <= named(first, ENGLISH[0], GERMAN[0])
    assert {("sing.", "singen."), ("book", "Buch"), ("yesterday!", "Gestern")} <= named(last, ENGLISH[2], GERMAN[2])


def test_json_has_the_same_pairs(heed: Run, write_lines: Write) -> None:
    src, tgt = write_lines("en", ENGLISH), write_lines("de", GERMAN)
    plain = heed("align", "--src", src, "--tgt", tgt).stdout.splitlines()
    records = [json.loads(line) for line in heed("align", "--src", src, "--tgt", tgt, "--json").stdout.splitlines()]
    assert [" ".join(f"{i}-{j}" for i, j in record["alignment"]) for record in records] == plain
    assert [record["source"] for record in records] == ENGLISH
    assert [record["translation"] for record in records] == GERMAN


def test_a_file_that_ends_early_is_named_after_what_can_be_aligned(heed: Run, write_lines: Write) -> None:
    src, tgt = write_lines("en", ENGLISH), write_lines("de", GERMAN[:2])
    result = heed("align", "--src", src, "--tgt", tgt)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == f"Error: {tgt}: ends after 2 lines, the other file does not; give files of equal length\n"


def test_lines_too_long_are_counted_and_keep_their_place(heed: Run, write_lines: Write) -> None:
    src, tgt = write_lines("en", ["word " * 600, "Yes."]), write_lines("de", ["Wort", "Ja."])
    result = heed("align", "--src", src, "--tgt", tgt)
    assert result.stdout == "\n0-0\n"
    assert result.stderr == "Warning: 1 line is too long to be aligned; split it into sentences\n"


def test_a_translation_carries_its_alignment(heed: Run, write_lines: Write) -> None:
    """As a last field, in JSON, and as `heed align` finds it; over the sentences of a line."""
    stdin = "".join(line + "\n" for line in ENGLISH).encode()
    lines = heed("translate", "--alignments", stdin=stdin).stdout.splitlines()
    texts, pairs = zip(*(line.split(" ||| ") for line in lines), strict=True)
    assert list(texts) == heed("translate", stdin=stdin).stdout.splitlines()
    aligned = heed("align", "--src", write_lines("en", ENGLISH), "--tgt", write_lines("de", list(texts)))
    assert pairs[0] == aligned.stdout.splitlines()[0]
    records = [
        json.loads(line) for line in heed("translate", "--alignments", "--json", stdin=stdin).stdout.splitlines()
    ]
    assert [" ".join(f"{i}-{j}" for i, j in record["alignment"]) for record in records] == list(pairs)
    assert {("sing.", "singen."), ("book", "Buch")} <= named(pairs[2], ENGLISH[2], texts[2])


def test_alternatives_have_alignments_of_their_own(heed: Run) -> None:
    result = heed("translate", "--alignments", "--n-best", 2, stdin=b"The red car is old.\n")
    for line in result.stdout.splitlines():
        number, text, _, pairs = line.split(" ||| ")
        assert number == "0"
        assert ("red", next(word for word in text.split() if word.startswith("rot"))) in named(pairs, ENGLISH[0], text)


def test_what_the_model_does_not_know_is_no_obstacle(heed: Run) -> None:
    result = heed("translate", "--alignments", stdin="The red ☃ car is old.\n".encode())
    text, pairs = result.stdout.rstrip("\n").split(" ||| ")
    assert "☃" in text
    assert ("car", "Auto") in named(pairs, "The red ☃ car is old.", text)


def test_alignments_go_with_plain_lines_alone(heed: Run, tmp_path: Path) -> None:
    result = heed("translate", "--alignments", "--keep-tags", stdin=b"a\n")
    assert result.exit_code == 2
    assert "--alignments counts words, and tags are none" in result.stderr
    assert heed("translate", "--alignments", "--input-format", "tsv", "--column", 1, stdin=b"a\n").exit_code == 2
    assert heed("align", "--src", "-", "--tgt", "-", stdin=b"a\n").exit_code == 2
