"""Flags win over the environment, and that over defaults."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.models.bundle import catalog
from heed.models.bundle.manifest import read

Heed = Callable[..., Result]


@pytest.fixture
def names(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's model, "mine", beside the one that heed brings."""
    shutil.copytree(bundle, tmp_path / "models/mine")
    monkeypatch.setenv("HEED_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)


def described(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return str(json.loads(result.stdout)["name"])


def test_the_model(heed: Heed, names: None, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = read(catalog.DEFAULT).name
    assert described(heed("models", "info", "--json")) == default
    monkeypatch.setenv("HEED_MODEL", "mine")
    assert described(heed("models", "info", "--json")) == read(bundle).name
    assert described(heed("models", "info", default, "--json")) == default
    assert json.loads(heed("doctor", "--json").stdout)["model"]["name"] == read(bundle).name
    assert json.loads(heed("doctor", "--json", "-m", default).stdout)["model"]["name"] == default
    monkeypatch.setenv("HEED_MODEL", "")
    assert described(heed("models", "info", "--json")) == default


def test_a_model_that_is_not_there_is_said_to_be_the_environment_s(
    heed: Heed, names: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_MODEL", "mien")
    for command in (["doctor"], ["models", "info"], ["models", "verify"]):
        result = heed(*command)
        assert result.exit_code == 4
        assert result.stderr.startswith("Error: HEED_MODEL: mien: ")
        assert "did you mean mine?" in result.stderr
    by_name = heed("models", "info", "mien").stderr
    assert by_name.startswith("Error: mien: ")
    assert "did you mean mine?" in by_name


@pytest.mark.parametrize(
    ("variable", "value"), [("HEED_THREADS", "many"), ("HEED_THREADS", "0"), ("HEED_DEVICE", "tpu")]
)
def test_a_value_that_is_none_is_a_usage_error(
    heed: Heed, write_lines: Callable[..., str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    src = write_lines("src", ["a"])
    result = heed("evaluate", "--src", src, "--ref", src)
    assert (result.exit_code, result.stdout) == (2, "")
    assert variable in result.stderr
    assert f"{value!r}" in result.stderr or f"{value} is not in the range" in result.stderr


def test_a_flag_wins(
    heed: Heed, bundle: Path, write_lines: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    src = write_lines("src", ["1 2"])
    evaluate = ["evaluate", "--src", src, "--ref", src, "-m", bundle, "--max-length", 4, "--threads", 1]
    monkeypatch.setenv("HEED_DEVICE", "cuda")
    monkeypatch.setenv("HEED_THREADS", "many")
    assert "cuda" in heed(*evaluate).stderr
    assert heed(*evaluate).exit_code == 4
    assert heed(*evaluate, "--device", "cpu").exit_code == 0


def test_help_names_the_variables(heed: Heed) -> None:
    shown = " ".join(heed("evaluate", "--help").stdout.split())
    for variable in ("HEED_MODEL", "HEED_THREADS", "HEED_DEVICE"):
        assert f"[env var: {variable}" in shown


def test_old_translations_need_no_model(
    heed: Heed, write_lines: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_MODEL", "nowhere")
    monkeypatch.setenv("HEED_THREADS", "2")
    text = write_lines("text", ["some words of text"])
    assert heed("evaluate", "--hyp", text, "--ref", text).exit_code == 0
