"""Runs that heed 0.1 began, of `tests/data/runs-0.1`: they go on as heed 0.1 went on with them."""

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from click.testing import Result
from safetensors.torch import load_file
from torch.testing import assert_close

from heed.models.spec.legacy import parameter_name
from heed.models.spec.parameters import parameters
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.run import open_run

Heed = Callable[..., Result]
RUNS = Path(__file__).parents[3] / "data/runs-0.1"
MACHINE = ["--device", "cpu", "--threads", "1"]
STEPS = ["--batch-tokens", "120", "--steps", "1", "--valid-every", "1", "--precision", "float32", "--average", "1"]
LAST = "checkpoints/step-00000008"
TASKS = pytest.mark.parametrize("task", ["translate", "generate"])


@pytest.fixture
def run(tmp_path: Path, task: str) -> Path:
    return shutil.copytree(RUNS / task, tmp_path / "run")


@TASKS
def test_a_run_of_heed_0_1_goes_on(heed: Heed, run: Path) -> None:
    """From step 4 of 8 to the weights that heed 0.1 came to; the order of sums may differ from machine to machine."""
    result = heed("train", "--resume", run, *MACHINE)
    assert result.exit_code == 0, result.stderr
    found = checkpoint.read_weights(run / LAST)
    expected = {parameter_name(name): tensor for name, tensor in load_file(run / "expected/model.safetensors").items()}
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == parameters(open_run(run).spec)
    assert_close(found, expected, rtol=1e-4, atol=1e-6)
    first = checkpoint.read_weights(run / "checkpoints/step-00000004")
    assert all(not tensor.equal(first[name]) for name, tensor in found.items())


@pytest.mark.parametrize("task", ["translate"])
def test_a_run_of_format_1_goes_on(heed: Heed, run: Path) -> None:
    """It knew less settings and no kinds, and its checkpoints had no hashes."""
    file = run / "config.toml"
    config = tomllib.loads(file.read_text("utf-8"))
    train = {name: value for name, value in config["train"].items() if name not in ("keep_best", "best_by", "ema")}
    file.write_text(tomli_w.dumps({"format": 1, "model": config["model"], "train": train}), "utf-8")
    assert heed("train", "--resume", run, *MACHINE).exit_code == 0
    expected = load_file(run / "expected/model.safetensors")
    assert_close(checkpoint.read_weights(run / LAST), expected, rtol=1e-4, atol=1e-6)


@TASKS
def test_a_new_run_begins_with_its_weights(heed: Heed, run: Path, task: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("1 2 3\n4 5\n" * 30, "utf-8")
    pairs = ["--src", text, "--tgt", text, "--valid-src", text, "--valid-tgt", text]
    files = pairs if task == "translate" else ["--text", text]
    result = heed("train", "--init-from", run, *files, *STEPS, *MACHINE, "-o", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    assert checkpoint.read_weights(tmp_path / "new/initial").keys() == parameters(open_run(run).spec).keys()
    config = tomllib.loads((tmp_path / "new/config.toml").read_text("utf-8"))
    assert (config["format"], config["task"]) == (3, task)
    assert open_run(tmp_path / "new").spec == open_run(run).spec
