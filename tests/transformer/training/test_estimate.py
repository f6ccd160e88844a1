from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.models.spec.preset import TRANSLATION_PRESETS, preset
from heed.transformer.training import estimate
from heed.transformer.training.runs.run import TranslationRun

Heed = Callable[..., Result]
MACHINE = ["--device", "cpu", "--threads", "1"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand million operations a second, without measuring."""
    monkeypatch.setattr(estimate, "_flops_per_second", lambda *_: 1e9)


def figures(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.stderr
    return dict(line.split("  ", 1) for line in result.stdout.splitlines())


@pytest.fixture
def text(tmp_path: Path) -> list[object]:
    for name in ("src", "tgt"):
        (tmp_path / name).write_text("some words of a line\n" * 1000)
    return ["--src", tmp_path / "src", "--tgt", tmp_path / "tgt"]


@pytest.mark.parametrize("name", TRANSLATION_PRESETS)
def test_a_dry_run_makes_nothing(heed: Heed, text: list[object], tmp_path: Path, name: str) -> None:
    found = figures(heed("train", "--dry-run", *text, "--preset", name, "-o", tmp_path / "run", *MACHINE))
    assert int(found["steps"].strip().split()[0].replace(",", "")) == preset(name)["train"]["steps"]
    assert not (tmp_path / "run").exists()


def test_the_paper_s_parameters(heed: Heed, text: list[object], tmp_path: Path) -> None:
    """65 and 213 million, by Table 3, which rounds and counts no further."""
    for name, expected in (("base", 65e6), ("big", 213e6)):
        found = figures(heed("train", "--dry-run", *text, "--preset", name, "-o", tmp_path / "run", *MACHINE))
        assert int(found["parameters"].replace(",", "")) == pytest.approx(expected, rel=0.04)


def test_the_nearest_limit_says_how_long(heed: Heed, text: list[object], tmp_path: Path) -> None:
    command = ["train", "--dry-run", *text, "-o", tmp_path / "run", *MACHINE, "--batch-tokens", 1000]
    by_epochs = figures(heed(*command, "--epochs", 3, "--steps", 10_000))
    assert by_epochs["steps"].strip() == "16 (--epochs, of about 5 steps)"  # 21,000 bytes, four to a token
    by_minutes = figures(heed(*command, "--minutes", 1))
    operations = float(by_minutes["operations a step"])
    steps = float(by_minutes["steps"].strip().split()[0].replace(",", ""))
    assert steps == pytest.approx(60 * 1e9 / operations, abs=1)
    assert by_minutes["time"].strip().startswith("about 60 seconds")


def test_a_run_that_is_there_is_left_as_it_is(heed: Heed, make_digit_run: Callable[..., TranslationRun]) -> None:
    run = make_digit_run()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    found = figures(heed("train", "--dry-run", "--resume", run.path, "--steps", 500, *MACHINE))
    assert found["steps"].strip() == "500 (--steps)"
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
