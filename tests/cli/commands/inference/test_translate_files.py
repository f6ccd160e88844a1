"""`heed translate` with files of other formats and with several files: the installed command and the default model."""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from heed.cli.jobs import plan

SRT = b"1\n00:00:01,000 --> 00:00:02,000\nGood morning!\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>12</i>\n"
PO = b'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "Good morning!"\nmsgstr ""\n'
FILES = {
    "a.srt": SRT,
    "a.vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\nGood morning!\n",
    "a.po": PO,
    "a.md": b"---\nx: y\n---\n# Good morning!\n\n    code\n",
    "a.html": b"<p>Good <!-- x -->morning!</p><script>Good morning!</script>",
    "a.jsonl": b'{"text": "Good morning!", "n": 1.50}\n',
    "a.txt": b"Good morning!\n",
}


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def start(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(program), "translate", "--threads", "1", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=tmp_path)

    return start


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_files_of_all_formats_go_into_a_directory(run: Run, tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "b.srt.gz").write_bytes(gzip.compress(SRT))
    names = [*FILES, "b.srt.gz"]
    result = run(*names, "-o", "out/")
    told = "srt 2, vtt 1, po 1, markdown 1, html 1, jsonl 1"
    assert result.returncode == 0, result.stderr
    assert (
        f"Files by the format that their names tell: {told}; --input-format lines reads plain lines\n" in result.stderr
    )
    found = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert found["a.txt"] == b"Guten Morgen!\n"
    for name in FILES:
        if name not in ("a.po", "a.html"):
            assert found[name] == FILES[name].replace(b"Good morning!", b"Guten Morgen!")
    assert found["a.po"] == PO.replace(b'msgstr ""', b'msgstr "Guten Morgen!"')
    assert found["a.html"].endswith(b"</p><script>Good morning!</script>")
    assert found["a.html"].count(b"<!-- x -->") == 1
    assert gzip.decompress(found["b.srt.gz"]) == found["a.srt"]


def test_a_bad_file_among_others_is_told_and_they_are_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.po").write_bytes(b'msgid "a"\nmsgstr oh\n')
    (tmp_path / "good.po").write_bytes(PO)
    result = run("bad.po", "good.po", "-o", "out/")
    assert result.returncode == 3
    assert "Error: bad.po: line 2: no line of a catalogue: 'msgstr oh'; mend it, as msgfmt -c shows\n" in result.stderr
    assert "Guten Morgen!" in (tmp_path / "out/good.po").read_text("utf-8")
    assert not (tmp_path / "out/bad.po").exists()
    again = run("bad.po", "good.po", "-o", "out/", "--resume")
    assert "out/good.po is already complete\n" in again.stderr
    (tmp_path / "bad.po").write_bytes(PO)
    assert run("bad.po", "good.po", "-o", "out/", "--resume").returncode == 0
    assert (tmp_path / "out/bad.po").read_bytes() == (tmp_path / "out/good.po").read_bytes()


def test_a_column_with_a_name_and_a_field_within_a_field(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id;"text"\n1;"Good morning!"\n')
    result = run("a.csv", "--column", "text")
    assert (result.stdout, result.returncode) == ('id;"text"\n1;"Guten Morgen!"\n', 0)
    assert result.stderr == "a.csv is read as csv; --input-format lines reads plain lines\n"
    line = '{"id": 1, "translation": {"de": null, "en": "Good morning!"}}\n'
    result = run("--input-format", "jsonl", "--field", "translation.en", stdin=line)
    assert result.stdout == line.replace("Good morning!", "Guten Morgen!")
    told = run("a.csv").stderr
    assert told.startswith("a.csv is read as plain lines; --column N translates one column of it\n")


def test_bad_lines_are_passed_over_and_counted(run: Run) -> None:
    lines = '{"text": "Good morning!"}\n{"text": 1}\noh\n\n{"text": "Good morning!"}\n'
    result = run("--input-format", "jsonl", "--skip-bad", stdin=lines)
    assert result.returncode == 0
    assert result.stdout == lines.replace("Good morning!", "Guten Morgen!")
    assert result.stderr == "Warning: 2 bad lines were passed over; they come out as they are\n"
    result = run("--input-format", "jsonl", stdin=lines)
    assert (result.returncode, result.stdout.count("\n")) == (3, 1)
    result = run("--input-format", "jsonl", "--skip-bad", stdin="oh\n")
    assert result.stderr == "Warning: 1 bad line was passed over; it comes out as it is\n"


def test_a_term_alone_in_its_line_is_not_translated(run: Run, tmp_path: Path) -> None:
    (tmp_path / "terms").write_text("morning\n", "utf-8")
    result = run("--glossary", "terms", "--json", stdin="This is a good morning.\n")
    assert "morning" in json.loads(result.stdout)["translation"]


@pytest.mark.parametrize(
    ("names", "output", "complaint"),
    [
        (("a.po", "b.po"), "c.po", "Several po files are no one file; give a directory for them: -o DIR/."),
        (("a.po", "b.srt"), None, "The inputs are po, srt; give them to several commands, or -o DIR/."),
        (("x/a.po", "y/a.po"), "out/", "Several inputs are called a.po; they cannot all be out/a.po."),
    ],
)
def test_documents_become_files_of_their_own(names: tuple[str, ...], output: str | None, complaint: str) -> None:
    import click

    with pytest.raises(click.UsageError) as caught:
        plan(names, output, None, None)
    assert caught.value.message == complaint
