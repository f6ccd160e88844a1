"""Training that goes wrong: gradients that are no numbers, a loss that runs away, memory that is not there."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from heed.models.errors import HeedError
from heed.transformer.data.batching.batches import Batch
from heed.transformer.data.preparation import translation_run
from heed.transformer.training import divergence as stability
from heed.transformer.training.engine import Engine
from heed.transformer.training.runs.checkpoint import Progress
from heed.transformer.training.runs.log import Incident, StepReport, Validation
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.trainer import Trainer

MakeRun = Callable[..., TranslationRun]
Loss = tuple[Tensor, Tensor]


class Recorder:
    def __init__(self) -> None:
        self.steps: list[StepReport] = []
        self.validations: list[Validation] = []
        self.incidents: list[Incident] = []

    def on_step(self, report: StepReport) -> None:
        self.steps.append(report)

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)

    def on_incident(self, incident: Incident) -> None:
        self.incidents.append(incident)


def sit(run: TranslationRun, recorder: Recorder) -> Trainer[Batch]:
    batches = translation_run.batches(run, translation_run.load_corpus(run))
    return Trainer(run, batches, Engine(torch.device("cpu")), [recorder])


def changing_loss(
    trainer: Trainer[Batch], change: Callable[[int, Loss], Loss], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the loss of a step be another one in training."""
    objective: Any = trainer._objective
    loss = objective.loss

    def changed(network: Any, batch: Batch) -> Loss:
        found: Loss = loss(network, batch)
        return change(trainer.progress.step, found) if network.training else found

    monkeypatch.setattr(objective, "loss", changed)


def test_a_step_without_a_number_is_left_out(make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and moments stay, and training goes on with the next batch."""
    recorder = Recorder()
    trainer = sit(make_digit_run(), recorder)
    changing_loss(trainer, lambda step, loss: (loss[0] * math.nan, loss[1]) if step == 5 else loss, monkeypatch)
    before: dict[str, Tensor] = {}
    step = trainer.step

    def watched(batch: Batch) -> None:
        if trainer.progress.step == 4:
            before.update({name: tensor.clone() for name, tensor in trainer.network.state_dict().items()})
        step(batch)
        if trainer.progress.step == 5:
            after = trainer.network.state_dict()
            assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    monkeypatch.setattr(trainer, "step", watched)
    assert trainer.train()
    assert before
    assert [(incident.event, incident.step) for incident in recorder.incidents] == [("skipped", 5)]
    assert [report.step for report in recorder.steps] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]


def test_many_such_steps_bring_training_back_to_a_good_checkpoint(
    make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, bad = Recorder(), iter([math.nan] * stability.SKIPS)
    trainer = sit(make_digit_run(), recorder)
    changing_loss(
        trainer,
        lambda step, loss: (loss[0] * next(bad, 1.0), loss[1]) if step > 4 else loss,
        monkeypatch,
    )
    assert trainer.train()
    skips = [("skipped", step) for step in range(5, 5 + stability.SKIPS)]
    # The validations at 6 and 9 find good weights, which training then goes back to.
    assert [(incident.event, incident.step) for incident in recorder.incidents] == [*skips, ("rolled_back", 9)]
    assert recorder.incidents[-1].facts == {"to_step": 6, "learning_rate_times": 0.5}
    rates = {report.step: report.learning_rate for report in recorder.steps}
    assert rates[7] / rates[4] == pytest.approx(0.5 * 7 / 4)  # in the warm-up, at half its speed
    assert trainer.progress.n_rollbacks == 1
    assert trainer.progress.step == 12


def test_training_that_never_recovers_ends_with_a_way_out(
    make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    run = make_digit_run(steps=1000)
    trainer = sit(run, recorder)
    changing_loss(trainer, lambda step, loss: (loss[0] * math.nan, loss[1]) if step > 4 else loss, monkeypatch)
    with pytest.raises(HeedError, match=r"training diverged at step .*; start a new run with a lower learning rate"):
        trainer.train()
    assert [incident.event for incident in recorder.incidents].count("rolled_back") == stability.ROLLBACKS
    assert run.steps()  # the good ones are there


def followed(progress: Progress, nll: float) -> Progress:
    """Progress after one more step."""
    return stability.followed(dataclasses.replace(progress, step=progress.step + 1), nll)


def test_a_loss_that_runs_away_is_noticed() -> None:
    progress = Progress()
    for nll in [9.0 - 0.01 * step for step in range(600)]:
        progress = followed(progress, nll)
        assert not stability.is_lost(progress)
    for nll in [3.0 + 0.3 * (step % 3 - 1) for step in range(300)]:  # batches are not equally hard
        progress = followed(progress, nll)
        assert not stability.is_lost(progress)
    n_steps = 0
    while not stability.is_lost(progress):
        progress, n_steps = followed(progress, 7.0), n_steps + 1
    assert n_steps < 100


@pytest.mark.parametrize("easy", [1, 3])
def test_easy_batches_at_the_start_are_no_minimum(easy: int) -> None:
    """As in a warm start with short lines before long ones."""
    progress = Progress()
    for nll in [0.3] * easy + [1.9] * 300:
        progress = followed(progress, nll)
        assert not stability.is_lost(progress)


def test_going_back_goes_on_with_the_text_that_comes_next() -> None:
    now = Progress(step=90, epoch=2, batch=7, share=0.4, seconds=50.0, trend=9.0, lowest=2.0, n_rollbacks=1)
    then = Progress(step=60, epoch=1, batch=3, share=0.1, seconds=30.0, loss=2.0, trend=2.5, lowest=2.4)
    expected = dataclasses.replace(then, epoch=2, batch=7, share=0.4, seconds=50.0, n_rollbacks=2)
    assert stability.gone_back(now, then) == expected


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=["cuda", "python", "cpu"])
def test_memory_that_is_not_there_is_named_with_the_batch(
    make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(step: int, loss: Loss) -> Loss:
        if step == 2:
            raise error
        return loss

    run = make_digit_run()
    trainer = sit(run, Recorder())
    second = list(trainer.batches.epoch(0, 1))[1]
    rows, length = second.targets.shape
    changing_loss(trainer, fail, monkeypatch)
    with pytest.raises(HeedError) as caught:
        trainer.train()
    assert str(caught.value).startswith(
        f"{run.path}: out of memory at step 2, in a batch of {rows} rows of up to {length} target tokens; "
    )
    assert f"heed train --resume {run.path} --accumulate 2" in str(caught.value)


def test_other_errors_are_our_own(make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(step: int, loss: Loss) -> Loss:
        raise RuntimeError("shape mismatch")

    trainer = sit(make_digit_run(), Recorder())
    changing_loss(trainer, fail, monkeypatch)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        trainer.train()
