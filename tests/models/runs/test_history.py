import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from heed.models.errors import ModelError
from heed.models.runs.history import History, points
from heed.transformer.training.runs.run import open_run

WriteRun = Callable[..., Path]


def step(number: int, **figures: object) -> dict[str, object]:
    return {"event": "step", "step": number, "loss": 2.0, "learning_rate": 0.1, **figures}


def validation(number: int, **figures: object) -> dict[str, object]:
    return {"event": "validation", "step": number, "minutes": 1.0, "averaged": False, "loss": 1.5, **figures}


def test_the_log_of_training_is_read(trained: Path) -> None:
    history = History.read(trained)
    lines = (trained / "log.jsonl").read_text("utf-8").split("\n")[:-1]
    records = [json.loads(line) for line in lines]
    assert [*history.steps, *history.validations] == [
        record for event in ("step", "validation") for record in records if record["event"] == event
    ]
    assert (history.task, history.last_step, history.finished) == ("translate", 150, True)
    assert history.start["parameters"] > 0
    assert history.marks == []


@pytest.mark.parametrize("name", ["trained", "trained_text"])
def test_the_best_is_the_checkpoint_that_an_export_takes(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    _, progress = open_run(run).best()
    best = History.read(run).best
    assert best is not None
    assert (best["step"], best["loss"]) == (progress.step, pytest.approx(progress.loss, abs=1e-6))


def test_of_two_records_of_a_step_the_later_counts(write_run: WriteRun) -> None:
    """A run that was killed repeats the steps since its last checkpoint."""
    first = [step(n, loss=9.0) for n in (50, 100, 150)]
    again = [step(n, loss=1.0) for n in (100, 150, 200)]
    history = History.read(write_run("run", [*first, validation(150, bleu=1.0), *again, validation(150, bleu=2.0)]))
    assert points(history.steps, "loss") == [(50, 9.0), (100, 1.0), (150, 1.0), (200, 1.0)]
    assert points(history.validations, "bleu") == [(150, 2.0)]


def test_weights_that_are_validated_beside_the_present_ones_are_apart(write_run: WriteRun) -> None:
    records = [validation(100), validation(200), validation(200, averaged=True)]
    history = History.read(write_run("run", records))
    assert [[record["step"] for record in history.validated(of)] for of in ("", "averaged")] == [[100, 200], [200]]


@pytest.mark.parametrize(("best_by", "best"), [("bleu", 100), ("loss", 200)])
def test_the_best_is_so_by_what_the_run_goes_by(write_run: WriteRun, best_by: str, best: int) -> None:
    path = write_run("run", [validation(100, bleu=30.0, loss=2.0), validation(200, bleu=20.0, loss=1.0)])
    with (path / "config.toml").open("a", encoding="utf-8") as file:
        file.write(f'best_by = "{best_by}"\n')
    found = History.read(path).best
    assert found is not None
    assert found["step"] == best


def test_what_is_not_known_hinders_nothing(write_run: WriteRun) -> None:
    records = [
        {"event": "start", "step": 0, "weather": "fair"},
        step(50, mfu=None, grad_norm=1.0, loss=None),
        {"event": "skipped", "step": 60},
        {"event": "tea", "minutes": 5},
        {"event": "rolled_back", "step": 70, "to": 50},
    ]
    history = History.read(write_run("run", records))
    assert points(history.steps, "loss") == points(history.steps, "mfu") == []
    assert [(mark["event"], mark["step"]) for mark in history.marks] == [("skipped", 60), ("rolled_back", 70)]
    assert not history.finished


def test_a_run_that_is_going_on_may_be_writing_a_line(write_run: WriteRun) -> None:
    run = write_run("run", [step(50), step(100)])
    with (run / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "step", "step": 150, "lo')
    assert History.read(run).last_step == 100


@pytest.mark.parametrize(
    "line", ["{", "", "7", '{"step": 1}', '{"event": "step"}', '{"event": "skipped", "step": "x"}', "\xff"]
)
def test_a_damaged_line_is_named(write_run: WriteRun, line: str) -> None:
    run = write_run("run", [step(50), step(100)])
    log = run / "log.jsonl"
    whole = log.read_text("utf-8").split("\n")
    log.write_bytes("\n".join([whole[0], line, *whole[1:]]).encode("latin-1"))
    with pytest.raises(ModelError, match=rf"^{re.escape(str(log))}: line 2 is damaged; delete that line$"):
        History.read(run)


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a run of heed train"):
        History.read(tmp_path)


def test_a_run_without_a_log_is_refused(write_run: WriteRun) -> None:
    run = write_run("run", [])
    (run / "log.jsonl").unlink()
    with pytest.raises(ModelError, match=f"^{re.escape(str(run))}: no records yet; continue with: heed train --resume"):
        History.read(run)


def test_figures_of_a_run_as_a_whole(write_run: WriteRun) -> None:
    records = [step(50 * n, tokens_per_second=speed) for n, speed in enumerate([100.0, 110.0, 1.0, 120.0, 105.0], 1)]
    history = History.read(write_run("run", [*records, validation(250, minutes=7.5)]))
    assert history.tokens_per_second == 105.0  # a pause of the machine does not move it
    assert (history.minutes, history.last_step, history.best) == (7.5, 250, history.validations[0])
