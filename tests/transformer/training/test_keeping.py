"""What a run keeps, what it is judged by, and when it has learnt enough."""

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from heed.transformer.data.batching.batches import Batch
from heed.transformer.data.preparation import translation_run
from heed.transformer.model import Transformer
from heed.transformer.training.engine import Engine
from heed.transformer.training.moving_average import MovingAverage
from heed.transformer.training.objectives.objectives import ValidationResult
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import RAW
from heed.transformer.training.runs.log import Incident, StepReport, Validation
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.trainer import Trainer

MakeRun = Callable[..., TranslationRun]


class Recorder:
    """A listener that remembers validations."""

    def __init__(self) -> None:
        self.validations: list[Validation] = []

    def on_step(self, report: StepReport) -> None:
        pass

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)

    def on_incident(self, incident: Incident) -> None:
        raise AssertionError(incident)


def sit(run: TranslationRun, *listeners: Recorder) -> Trainer[Batch]:
    batches = translation_run.batches(run, translation_run.load_corpus(run))
    return Trainer(run, batches, Engine(torch.device("cpu")), listeners)


def validated_as(
    trainer: Trainer[Batch], figures: dict[int, tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let validations at these steps have these BLEUs and losses."""

    def validate(network: object, number: int) -> ValidationResult:
        bleu, loss = figures[trainer.progress.step]
        return ValidationResult(loss=loss, figures={"bleu": bleu}, example={})

    monkeypatch.setattr(trainer._objective, "validate", validate)


FIGURES = {1: (5.0, 3.0), 2: (9.0, 2.0), 3: (8.0, 1.0), 4: (7.0, 1.5), 5: (9.0, 2.5), 6: (1.0, 4.0), 7: (2.0, 4.0)}


@pytest.mark.parametrize(
    ("wishes", "kept"),
    [
        ({"average": 2}, [2, 6, 7]),  # of equal BLEU the one with the lower loss
        ({"average": 2, "keep": 3}, [2, 5, 6, 7]),
        ({"average": 1, "keep_best": 3}, [2, 3, 5, 7]),
        ({"average": 1, "keep_best": 2, "best_by": "loss"}, [3, 4, 7]),
    ],
    ids=str,
)
def test_the_last_and_the_best_are_kept(
    make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch, wishes: dict[str, object], kept: list[int]
) -> None:
    run = make_digit_run(valid_every=1, steps=7, **wishes)
    trainer = sit(run)
    validated_as(trainer, FIGURES, monkeypatch)
    assert trainer.train()
    assert [checkpoint.load_progress(path).step for path in run.steps()] == kept


@pytest.mark.parametrize(
    ("wishes", "last"),
    [({"patience": 2}, 4), ({"patience": 3}, 5), ({"patience": 2, "best_by": "loss"}, 5), ({"patience": 9}, 7)],
    ids=str,
)
def test_training_ends_when_nothing_gets_better(
    make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch, wishes: dict[str, object], last: int
) -> None:
    run = make_digit_run(valid_every=1, steps=7, average=1, **wishes)
    listener = Recorder()
    trainer = sit(run, listener)
    validated_as(trainer, FIGURES, monkeypatch)
    assert trainer.train()
    assert [v.step for v in listener.validations if not v.averaged] == list(range(1, last + 1))
    again = sit(run)
    validated_as(again, FIGURES, monkeypatch)
    assert again.train()  # it is still done
    assert again.progress.step == last


def test_bleu_0_is_not_stale_while_the_loss_falls(make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Early in training, and in languages whose words BLEU does not find, every validation has BLEU 0."""
    losses = [5.0, 4.0, 3.0, 3.5, 2.0, 2.5, 2.1]
    run = make_digit_run(valid_every=1, steps=7, average=1, patience=2)
    trainer = sit(run)
    validated_as(trainer, {step: (0.0, loss) for step, loss in enumerate(losses, start=1)}, monkeypatch)
    assert trainer.train()
    assert trainer.progress.step == 7
    assert (trainer.progress.best, trainer.progress.best_loss, trainer.progress.n_stale) == (0.0, 2.0, 2)


def test_the_moving_average_is_that_of_the_formula() -> None:
    network = torch.nn.Linear(3, 2)
    average = MovingAverage(network, decay=0.8)
    expected = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for step in range(1, 60):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        for name, parameter in network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    assert_close(average.weights, expected)


def test_the_moving_average_is_judged_and_stored_beside_the_weights_in_training(make_digit_run: MakeRun) -> None:
    plain, smooth = sit(make_digit_run("plain")), sit(make_digit_run("smooth", ema=0.9))
    assert plain.train()
    assert smooth.train()
    trained = checkpoint.weights_of(plain.network)
    assert_close(checkpoint.weights_of(smooth.network), trained, rtol=0, atol=0)  # learning is not disturbed
    last = smooth.run.steps()[-1]
    stored, states = checkpoint.read_weights(last), checkpoint.read_states(last)
    assert_close({name: states[RAW + name] for name in trained}, trained, rtol=0, atol=0)
    assert smooth.average
    assert_close(stored, smooth.average.weights, rtol=0, atol=0)
    assert not torch.equal(stored["src_embedding.weight"], trained["src_embedding.weight"])
    judged = smooth._validator._with(stored)
    with torch.inference_mode():
        result = smooth._objective.validate(judged.eval(), 0)
    assert checkpoint.load_progress(last).loss == pytest.approx(result.loss)


@pytest.mark.parametrize("when", [1, 2, 5], ids=["first", "second", "of the average"])
def test_a_stop_ends_a_validation_which_comes_again(
    make_digit_run: MakeRun, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """It may take minutes, and a machine that is about to go down does not wait."""
    whole = sit(make_digit_run("whole"))
    assert whole.train()
    run = make_digit_run("parts")
    trainer = sit(run)
    validate, begun = trainer._objective.validate, []

    def interrupted(network: Transformer, number: int) -> ValidationResult:
        begun.append(number)
        if len(begun) == when:
            trainer.stop()
            raise AssertionError("still here")
        return validate(network, number)

    monkeypatch.setattr(trainer._objective, "validate", interrupted)
    assert not trainer.train()
    assert trainer.progress.step == min(3 * when, 12)
    listener = Recorder()
    second = sit(run, listener)
    assert second.train()
    assert [v.step for v in listener.validations] == [*range(3 * when, 13, 3), 12]
    for name in ("model.safetensors", "optimizer.safetensors"):
        found, expected = (trained.run.steps()[-1] / name for trained in (second, whole))
        assert found.read_bytes() == expected.read_bytes()
    found, expected = (trained.run.average_path / "model.safetensors" for trained in (second, whole))
    assert found.read_bytes() == expected.read_bytes()
    assert [path.name for path in run.steps()] == [path.name for path in whole.run.steps()]
