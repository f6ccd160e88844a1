import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
from click.testing import Result

Heed = Callable[..., Result]
Write = Callable[[str, list[str]], str]
DATA = Path(__file__).parents[3] / "data"
LINES = DATA.joinpath("tatoeba.test.de").read_text("utf-8").splitlines()[:60]
WORSE = [line.removesuffix(".") if i % 3 else f"Ach, {line}" for i, line in enumerate(LINES)]


@pytest.fixture
def files(write_lines: Write) -> tuple[str, str]:
    """Translations, and right ones."""
    return write_lines("hyp", WORSE), write_lines("ref", LINES)


def test_the_scores_are_those_of_sacrebleu_s_own_command(heed: Heed, files: tuple[str, str]) -> None:
    hyp, ref = files
    options = ["-m", "bleu", "chrf", "ter", "--confidence", "--confidence-n", "200", "-f", "json"]
    command = [sys.executable, "-m", "sacrebleu", ref, "-i", hyp, *options]
    theirs = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    result = heed("evaluate", "--hyp", hyp, "--ref", ref, "--bootstrap", 200, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    ours = json.loads(result.stdout)
    assert ours.pop("lines") == len(LINES)
    assert list(ours) == ["bleu", "chrf", "ter"]
    for found, expected in zip(ours.values(), theirs, strict=True):
        assert found["signature"] == expected["signature"]
        # Their command rounds to a digit.
        names = {"score": "score", "mean": "confidence_mean", "margin": "confidence_var"}
        for name, their_name in names.items():
            assert found[name] == pytest.approx(expected[their_name], abs=0.0501)


def test_the_text_is_the_same_in_words(heed: Heed, files: tuple[str, str]) -> None:
    hyp, ref = files
    arguments = ["evaluate", "--hyp", hyp, "--ref", ref]
    report = json.loads(heed(*arguments, "--json").stdout)
    lines = heed(*arguments).stdout.splitlines()
    for name, line in zip(("bleu", "chrf", "ter"), lines, strict=False):
        assert line.split()[0].lower() == name
        found = report[name]
        assert f" {found['score']:.2f}  ({found['mean']:.2f} ± {found['margin']:.2f})" in line
        assert any(line.endswith(f" {found['signature']}") for line in lines)
    assert f"{len(LINES)} lines" in heed(*arguments, "--bootstrap", 0).stdout
    assert "±" not in heed(*arguments, "--bootstrap", 0).stdout


def test_what_a_model_translates_is_scored(heed: Heed, bundle: Path, write_lines: Write) -> None:
    src = write_lines("src", ["1 2 3", "", "4 5", "9 8 7 6"])
    ref = write_lines("ref", ["1 2 3", "", "4 4", "9 8 7 6"])
    search = ["-m", bundle, "--max-length", 6, "--threads", 1]
    hyp = write_lines("hyp", heed("translate", *search, "-i", src).stdout.splitlines())
    made_before = heed("evaluate", "--hyp", hyp, "--ref", ref)
    assert made_before.exit_code == 0
    assert heed("evaluate", *search, "--src", src, "--ref", ref).stdout == made_before.stdout


def test_several_references(heed: Heed, files: tuple[str, str], write_lines: Write) -> None:
    hyp, ref = files
    other = write_lines("other", WORSE)
    report = json.loads(heed("evaluate", "--hyp", hyp, "--ref", ref, "--ref", other, "--json").stdout)
    assert (report["bleu"]["score"], report["chrf"]["score"], report["ter"]["score"]) == (100, 100, 0)
    assert report["bleu"]["signature"].startswith("nrefs:2|")


def test_translations_from_a_pipe(heed: Heed, files: tuple[str, str]) -> None:
    hyp, ref = files
    piped = heed("evaluate", "--hyp", "-", "--ref", ref, stdin=Path(hyp).read_bytes())
    assert piped.exit_code == 0
    assert piped.stdout == heed("evaluate", "--hyp", hyp, "--ref", ref).stdout


def test_line_ends_and_a_mark_at_the_beginning_score_nothing(heed: Heed, files: tuple[str, str]) -> None:
    hyp, ref = files
    plain = heed("evaluate", "--hyp", hyp, "--ref", ref).stdout
    text = Path(hyp).read_bytes()
    Path(hyp).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert heed("evaluate", "--hyp", hyp, "--ref", ref).stdout == plain


def test_other_separators_are_no_line_ends(heed: Heed, write_lines: Write) -> None:
    hyp, ref = write_lines("hyp", ["a\u2028b\x0bc\rd", "e"]), write_lines("ref", ["a", "b"])
    assert json.loads(heed("evaluate", "--hyp", hyp, "--ref", ref, "--json").stdout)["lines"] == 2


def test_chinese_is_cut_into_words(heed: Heed, write_lines: Write) -> None:
    hyp, ref = write_lines("hyp", ["我们今天去学校"]), write_lines("ref", ["我们今天去学校吗"])
    expected = sacrebleu.BLEU(tokenize="zh").corpus_score(["我们今天去学校"], [["我们今天去学校吗"]]).score
    report = json.loads(heed("evaluate", "--hyp", hyp, "--ref", ref, "--tokenize", "zh", "--json").stdout)
    assert report["bleu"]["score"] == pytest.approx(expected, abs=0.0051)
    assert "tok:zh" in report["bleu"]["signature"]


# Errors


def test_files_are_read_as_translate_reads_them(heed: Heed, files: tuple[str, str], tmp_path: Path) -> None:
    hyp, ref = files
    expected = heed("evaluate", "--hyp", hyp, "--ref", ref, "--bootstrap", 0).stdout
    packed, marked = tmp_path / "hyp.gz", tmp_path / "marked"
    packed.write_bytes(gzip.compress(Path(hyp).read_bytes()))
    marked.write_bytes(b"\xef\xbb\xbf" + Path(ref).read_bytes())
    result = heed("evaluate", "--hyp", packed, "--ref", marked, "--bootstrap", 0)
    assert (result.stdout, result.stderr) == (
        expected,
        f"{marked} begins with a byte-order mark, which was removed\n",
    )
    packed.write_bytes(packed.read_bytes()[:-9])
    result = heed("evaluate", "--hyp", packed, "--ref", ref)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"Error: {packed}: damaged: ")


def test_lines_may_be_translated_whole(heed: Heed, write_lines: Write) -> None:
    src = write_lines("src", ["Where is he? I am hungry. Be careful!", "Don't worry! He doesn't speak any German."])
    command = ["--src", src, "--bootstrap", 0, "--threads", 1]
    for options in ([], ["--no-split"]):
        whole = heed("translate", "-i", src, "--threads", 1, *options).stdout.splitlines()
        scores = json.loads(heed("evaluate", *command, *options, "--ref", write_lines("ref", whole), "--json").stdout)
        assert scores["chrf"]["score"] == 100


def test_files_of_different_lengths(heed: Heed, write_lines: Write) -> None:
    hyp, ref = write_lines("hyp", ["a"] * 1200), write_lines("ref", ["a"] * 1199)
    result = heed("evaluate", "--hyp", hyp, "--ref", ref)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        f"Error: {hyp}: 1,200 lines, {ref}: 1,199 lines; give files that correspond line by line\n"
    )


def test_text_that_cannot_be_scored(heed: Heed, write_lines: Write, tmp_path: Path) -> None:
    ref = write_lines("ref", ["a", "b"])
    bad = tmp_path / "bad"
    bad.write_bytes(b"a\n\xff\n")
    result = heed("evaluate", "--hyp", bad, "--ref", ref)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"Error: {bad}: line 2 is not UTF-8; ")
    empty = write_lines("empty", [])
    result = heed("evaluate", "--hyp", empty, "--ref", empty)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"Error: {empty}: no lines; ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ref", "ref"], "Give --src"),
        (["--ref", "ref", "--src", "hyp", "--hyp", "hyp"], "Give --src"),
        (["--hyp", "hyp"], "Missing option '--ref'"),
        (["--ref", "ref", "--hyp", "hyp", "--beam-size", "2", "-m", "x"], "leave out --model, --beam-size"),
        (["--ref", "ref", "--src", "hyp", "--length-penalty", "nan"], "length_penalty must be a number from 0 to 10"),
        (["--ref", "-", "--hyp", "-"], "Only one of the files can be stdin"),
        (["--ref", "ref", "--hyp", "nowhere"], "nowhere"),
    ],
)
def test_what_does_not_fit_together(
    heed: Heed, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(Path(files[0]).parent)
    result = heed("evaluate", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
