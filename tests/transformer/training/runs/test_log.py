import json
import math
from pathlib import Path

import pytest

from heed.transformer.training.objectives.objectives import ValidationResult
from heed.transformer.training.runs.log import Meter, RunLog, StepReport, Validation, perplexity


def report(step: int, **changes: float) -> StepReport:
    values = {"loss": 20.0, "nll": 10.0, "seconds": 0.5, "learning_rate": 1e-3, "share_done": 0.1} | changes
    values = {"grad_norm": 0.25, "flops": 1e6} | values
    return StepReport(step=step, epoch=0, n_tokens=10, n_filled=15, n_cells=20, **values)  # type: ignore[arg-type]


VALIDATION = Validation(
    step=4,
    epoch=0,
    minutes=0.1,
    result=ValidationResult(
        loss=math.log(2),
        figures={"bleu": 12.5},
        example={"source": "a\u2028\u00e9", "reference": '"b"', "translation": "[b]"},
    ),
)


def records(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text("utf-8").split("\n")[:-1]]


def test_every_line_of_the_log_is_a_record(tmp_path: Path) -> None:
    with RunLog(tmp_path, every=2) as log:
        log.on_start(pairs=7, device="cpu")
        for step in range(1, 5):
            log.on_step(report(step))
        log.on_validation(VALIDATION)
    start, second, fourth, validation = records(tmp_path)
    assert start == {"event": "start", "pairs": 7, "device": "cpu"}
    assert (second["event"], second["step"], fourth["step"]) == ("step", 2, 4)
    assert (validation["event"], validation["source"]) == ("validation", "a\u2028\u00e9")
    assert validation["perplexity"] == pytest.approx(2, abs=1e-5)


def test_a_later_sitting_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    """What a killed sitting wrote after it is cut off, and the means go on in the middle of a record."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for directory in (whole, parts):
        directory.mkdir()
    with RunLog(whole, every=4) as log:
        log.on_start(pairs=7)
        for step in range(1, 9):
            log.on_step(report(step, loss=float(step)))
    with RunLog(parts, every=4) as log:
        log.on_start(pairs=7)
        for step in range(1, 7):
            log.on_step(report(step, loss=float(step)))
        state = json.loads(json.dumps(log.state))
        log.on_step(report(7, loss=700.0))
        log.on_step(report(8, loss=800.0))
    with RunLog(parts, every=4) as log:
        log.restore(state, step=6)
        log.on_start(pairs=7)
        for step in range(7, 9):
            log.on_step(report(step, loss=float(step)))
    assert (parts / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()


def test_a_record_is_on_disk_before_the_next_step(tmp_path: Path) -> None:
    """A run that is killed has its log."""
    with RunLog(tmp_path, every=1) as log:
        log.on_step(report(1))
        assert len(records(tmp_path)) == 1


def test_tensorboard_gets_events(tmp_path: Path) -> None:
    with RunLog(tmp_path, every=1) as log:
        log.on_step(report(1))
        log.on_validation(VALIDATION)
    (events,) = (tmp_path / "tensorboard").iterdir()
    for tag in (b"train/loss", b"train/learning_rate", b"valid/loss", b"valid/bleu"):
        assert tag in events.read_bytes()


def test_means_are_over_tokens_since_the_last_reading() -> None:
    meter = Meter()
    meter.add(report(1, loss=1000.0))
    meter.read()
    meter.add(report(2, loss=20.0, nll=0.0, seconds=0.5))
    meter.add(report(3, loss=40.0, nll=20 * math.log(3), seconds=1.5))
    figures = {"loss": 3, "perplexity": 3, "tokens_per_second": 10, "flops_per_second": 1e6}
    assert meter.read() == pytest.approx(figures | {"padding": 0.25, "grad_norm": 0.25})


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    """Python writes Infinity and NaN, which is no JSON."""
    with RunLog(tmp_path, every=1) as log:
        log.on_step(report(1, loss=math.nan, nll=math.inf))
    (record,) = records(tmp_path)
    assert record["loss"] is record["perplexity"] is None


def test_perplexity_may_be_beyond_all_numbers() -> None:
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(1e4) == math.inf
