import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Heed = Callable[..., Result]
WriteRun = Callable[..., Path]


def records(bleu: float = 10.0) -> list[dict[str, object]]:
    steps = [{"event": "step", "step": 50 * n, "loss": 9.0 / n, "learning_rate": 0.1 * n} for n in range(1, 5)]
    end = {"event": "validation", "step": 200, "minutes": 3.0, "loss": 2.5, "bleu": bleu, "averaged": True}
    return [{"event": "start", "step": 0, "parameters": 1234567}, *steps, end]


def test_a_run_is_drawn_where_there_is_no_terminal(heed: Heed, trained: Path) -> None:
    result = heed("runs", "show", trained)
    lines = result.stdout.split("\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("run  best: ")
    assert lines[1].startswith("translation, ")
    assert lines[1].endswith("finished")
    for title in ("Training loss", "Perplexity", "BLEU", "Learning rate"):
        assert title in result.stdout


def test_a_terminal_without_unicode_is_told(program: Path, write_run: WriteRun) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    finished = subprocess.run(
        [program, "runs", "show", write_run("run", records())], env=environment, capture_output=True, check=False
    )
    assert (finished.returncode, finished.stdout) == (1, b"")
    assert finished.stderr.startswith(b"Error: iso8859-1 lacks the characters of curves")


def test_a_wider_terminal_has_a_wider_drawing(heed: Heed, trained_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    lines = heed("runs", "show", trained_text).stdout.split("\n")
    assert 110 < max(map(len, lines)) <= 120
    assert 35 < len(lines) <= 40
    assert any("Bits a byte" in line for line in lines)


def test_several_runs_have_letters(heed: Heed, write_run: WriteRun) -> None:
    one, two = write_run("one", records(10)), write_run("two", records(20))
    result = heed("runs", "show", one, two, one)
    assert result.exit_code == 0
    assert "a  one  best: average at step 200, BLEU 10.00" in result.stdout
    assert "b  two  best: average at step 200, BLEU 20.00" in result.stdout
    assert "c  " not in result.stdout


def test_figures_as_json_lines(heed: Heed, write_run: WriteRun) -> None:
    one, two = write_run("one", records(10)), write_run("two", records(20))
    result = heed("runs", "show", one, two, "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    of_one = [line for line in lines if line["run"] == str(one)]
    assert lines[: len(of_one)] == of_one
    assert lines[len(of_one)]["run"] == str(two)
    summary, *rest = of_one
    assert [{key: value for key, value in line.items() if key != "run"} for line in rest] == records(10)[1:]
    assert summary["event"] == "summary"
    assert (summary["parameters"], summary["steps"], summary["finished"]) == (1234567, 200, True)
    assert summary["best"]["bleu"] == 10


@pytest.mark.parametrize("suffix", [".svg", ".html", ".png"])
def test_a_picture_is_written(heed: Heed, write_run: WriteRun, tmp_path: Path, suffix: str) -> None:
    run, output = write_run("run", records()), tmp_path / f"run{suffix}"
    result = heed("runs", "show", run, "-o", output)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"Written to {output}.\n")
    data = output.read_bytes()
    if suffix == ".svg":
        assert ElementTree.fromstring(data).tag.endswith("svg")
    else:
        assert data.startswith({".html": b"<!doctype html>", ".png": b"\x89PNG"}[suffix])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", output.name]


def test_a_picture_is_not_overwritten_unless_that_is_asked(heed: Heed, write_run: WriteRun, tmp_path: Path) -> None:
    run, output = write_run("run", records()), tmp_path / "run.svg"
    output.write_text("mine")
    result = heed("runs", "show", run, "-o", output)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {output}: already exists; choose another name, or overwrite it with --force\n"
    assert output.read_text() == "mine"
    assert heed("runs", "show", run, "-o", output, "--force").exit_code == 0
    assert output.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "run.pdf"], "end the name in .html, .svg or .png"),
        (["-o", "run.svg", "--json"], "--json and -o exclude each other"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    heed: Heed, write_run: WriteRun, options: list[str], message: str
) -> None:
    result = heed("runs", "show", write_run("run", records()), *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_png_needs_an_extra(heed: Heed, write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    run = write_run("run", records())
    result = heed("runs", "show", run, "-o", tmp_path / "run.png")
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "runs show needs resvg_py, which is not installed; where heed's source is: pip install '.[plot]'\n"
    )
    assert not (tmp_path / "run.png").exists()
    assert heed("runs", "show", run, "-o", tmp_path / "run.html").exit_code == 0


def test_what_is_no_run_is_refused(heed: Heed, write_run: WriteRun, tmp_path: Path) -> None:
    assert heed("runs", "show").exit_code == 2
    assert heed("runs", "show", tmp_path / "nowhere").exit_code == 2
    result = heed("runs", "show", tmp_path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith(f"Error: {tmp_path}: not a run of heed train")
    young = write_run("young", records()[:1])
    result = heed("runs", "show", young)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == f"Error: {young}: no figures yet; training records the first ones after some steps\n"


def test_runs_are_listed_the_latest_first(
    heed: Heed, write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {name: write_run(name, records()[:n]) for name, n in (("one", 6), ("runs/two", 3), ("runs/group/three", 1))}
    text = write_run("runs/text", [{"event": "validation", "step": 7, "loss": 1.0, "bits_per_byte": 2.0}], "decoder")
    for seconds, run in enumerate([*named.values(), text], start=1_000_000_000):
        os.utime(run / "log.jsonl", (seconds, seconds))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.toml").write_text("colour = 'red'\n")
    damaged = write_run("damaged", [])
    (damaged / "log.jsonl").write_text("{\n")
    monkeypatch.chdir(tmp_path)
    result = heed("runs", "list")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(row[0], row[1], row[2], row[3], row[5]) for row in rows] == [
        ("runs/text", "text", "7", "bits a byte 2.000", ""),
        ("runs/two", "translation", "100", "", ""),
        ("one", "translation", "200", "BLEU 10.00", "done"),
    ]
    assert rows[0][4].startswith("2001-09-")
    assert result.stderr == "Warning: damaged/log.jsonl: line 1 is damaged; delete that line\n"
    assert heed("runs", "list", "runs").stdout.split("\n")[1].startswith("runs/group/three\ttranslation\t0\t")
    assert heed("runs", "list", "one").stdout.startswith("one\t")


def test_neither_torch_nor_onnxruntime_is_needed(write_run: WriteRun, tmp_path: Path) -> None:
    run = write_run("run", records())
    for words in (
        ["show", run],
        ["show", run, "-o", tmp_path / "run.html"],
        ["show", run, "--json"],
        ["list", tmp_path],
    ):
        arguments = ["runs", *map(str, words)]
        call = f"import sys; from heed.cli.main import main; main({arguments!r}, standalone_mode=False)"
        code = f"{call}\nprint(sorted(set(sys.modules) & {{'torch', 'onnxruntime', 'numpy', 'resvg_py'}}))"
        finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (finished.stdout.splitlines()[-1], finished.returncode) == ("[]", 0), finished.stderr
