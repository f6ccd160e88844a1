"""Masked and denoising training by the command, from text to use."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from heed.models.bundle.bundle import Bundle
from heed.transformer.training.runs.run import DenoisingRun, MaskedRun, open_run
from heed.transformer.training.runs.settings import MaskedConfig

Heed = Callable[..., Result]
BRIEF = ["--batch-tokens", 512, "--warmup", 4, "--precision", "float32", "--device", "cpu", "--threads", 1]
SMALL = ["--d-model", 16, "--d-ff", 24, "--n-heads", 2, "--n-layers", 1, "--dropout", 0]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, digit_lines: Callable[[int, int], list[str]]) -> Path:
    path = tmp_path_factory.mktemp("masked") / "digits.txt"
    path.write_text("".join(f"{line}\n" for line in digit_lines(400, 1)))
    return path


@pytest.fixture(scope="module")
def masked(text: Path, heed: Heed) -> Path:
    """A run that has learnt some masks. Do not write to it."""
    run = text.with_name("run")
    steps = ["--steps", 30, "--valid-every", 15, "--context", 32, "--vocab-size", 273, "--learning-rate", 0.01]
    result = heed("train", "--text", text, "--objective", "masked", "-o", run, *SMALL, *BRIEF, *steps)
    assert result.exit_code == 0, result.stderr
    return run


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["event"] == "validation"]


def test_a_masked_model_learns(masked: Path) -> None:
    run = open_run(masked)
    assert isinstance(run, MaskedRun)
    assert run.spec.decoder is None
    assert isinstance(run.train, MaskedConfig)
    assert run.train.mask_share == 0.15
    assert losses(masked)[-1] < losses(masked)[0] < np.log(273)


def test_a_masked_model_is_exported_and_used(masked: Path, heed: Heed, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    result = heed("export", masked, "-o", bundle)
    assert result.exit_code == 0, result.stderr
    assert "heed fill -m" in result.stderr
    manifest = Bundle(bundle).manifest
    assert manifest.parity is not None
    assert manifest.parity.greedy_identical == manifest.parity.texts > 0
    assert manifest.parity.loss_bundle == pytest.approx(manifest.parity.loss_torch, abs=1e-5)
    filled = heed("fill", "-m", bundle, "-n", 3, "1 [MASK] 3")
    assert filled.exit_code == 0, filled.stderr
    rows = [line.split("\t") for line in filled.stdout.split("\n")[:-1]]
    assert [len(row) for row in rows] == [3, 3, 3]  # though a token of such a model may be a line break
    assert all(token for _, token, _ in rows)
    similar = heed("embed", "-m", bundle, "--similar-to", "1 2", "--top", 1, stdin=b"7 7 7\n1 2\n")
    assert similar.stdout == "1.0000\t1 2\n"


def test_a_masked_run_is_the_beginning_of_another(masked: Path, text: Path, heed: Heed, tmp_path: Path) -> None:
    files = ["--init-from", masked, "--text", text, "-o", tmp_path / "run"]
    steps = ["--steps", 1, "--valid-every", 1, "--average", 1, "--learning-rate", 1e-6]
    assert heed("train", *files, "--objective", "masked", *BRIEF, *steps).exit_code == 0
    assert losses(tmp_path / "run")[0] == pytest.approx(losses(masked)[-1], abs=0.3)
    wrong = heed("train", *files[:-1], tmp_path / "other", *BRIEF, *steps)
    assert wrong.exit_code == 2
    assert "was trained to fill, but this run learns to generate" in wrong.stderr


@pytest.mark.parametrize("noise", ["infilling", "spans"])
def test_a_denoising_run_is_the_beginning_of_a_translation(noise: str, text: Path, heed: Heed, tmp_path: Path) -> None:
    run, vocabulary = tmp_path / "run", 115 if noise == "spans" else 16
    begin = ["--text", text, "--objective", "denoise", "--noise", noise, "--preset", "tiny", "-o", run]
    steps = ["--steps", 4, "--valid-every", 2, "--vocab-size", vocabulary]
    result = heed("train", *begin, *SMALL, *BRIEF, *steps)
    assert result.exit_code == 0, result.stderr
    assert f"Done. Train on pairs with: heed train --init-from {run} " in result.stderr
    assert isinstance(open_run(run), DenoisingRun)
    assert heed("train", "--resume", run).exit_code == 0
    refused = heed("export", run, "-o", tmp_path / "bundle")
    assert refused.exit_code == 1
    assert f"heed train --init-from {run}" in refused.stderr
    tuned = tmp_path / "tuned"
    result = heed(
        "train", "--init-from", run, "--src", text, "--tgt", text, "-o", tuned, *BRIEF, "--steps", 1, "--average", 1
    )
    assert result.exit_code == 0, result.stderr
    assert heed("export", tuned, "-o", tmp_path / "bundle").exit_code == 0


def test_options_of_another_objective_are_refused(text: Path, heed: Heed, tmp_path: Path) -> None:
    result = heed("train", "--text", text, "--mask-share", 0.2, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "--mask-share" in result.stderr
    result = heed("train", "--text", text, "--objective", "masked", "--mask-share", 1.5, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "mask_share must be above 0 and below 1" in result.stderr
    result = heed("train", "--text", text, "--objective", "masked", "--preset", "gpt-tiny", "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "--preset gpt-tiny is not for --objective masked" in result.stderr
