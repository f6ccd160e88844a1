import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from heed.models.errors import HeedError, ModelError
from heed.models.spec.tables import to_table
from heed.transformer.data.batching.batches import Batch
from heed.transformer.data.preparation import translation_run
from heed.transformer.masks import padding_mask
from heed.transformer.training import trainer as trainer_module
from heed.transformer.training.engine import Engine, choose_device, choose_precision
from heed.transformer.training.objectives.objectives import ValidationResult
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import OPTIMIZER, Progress
from heed.transformer.training.runs.log import Incident, Listener, RunLog, StepReport, Validation
from heed.transformer.training.runs.run import Run, TranslationRun
from heed.transformer.training.schedule import learning_rate
from heed.transformer.training.trainer import Trainer

CPU = torch.device("cpu")
N_BATCHES = 4  # of an epoch


class Recorder:
    """A listener that remembers, and does something after a step."""

    def __init__(self, after: Mapping[int, Callable[[], object]] | None = None) -> None:
        self.after = after or {}
        self.steps: list[StepReport] = []
        self.validations: list[Validation] = []
        self.incidents: list[Incident] = []

    def on_step(self, report: StepReport) -> None:
        self.steps.append(report)
        self.after.get(report.step, lambda: None)()

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)

    def on_incident(self, incident: Incident) -> None:
        self.incidents.append(incident)


class MakeRun(Protocol):
    def __call__(self, name: str = "run", /, **wishes: object) -> TranslationRun: ...


@pytest.fixture
def make_run(make_digit_run: Callable[..., TranslationRun]) -> MakeRun:
    """A run of a tiny network on 20 pairs in 4 batches."""

    def make(name: str = "run", /, **wishes: object) -> TranslationRun:
        settings: dict[str, object] = {"batch_tokens": 40, "warmup": 3, "steps": 7}
        run = make_digit_run(name, n_pairs=20, dropout=0.3, **settings | wishes)
        batches = translation_run.batches(run, translation_run.load_corpus(run))
        assert len(list(batches.epoch(0, 1))) == N_BATCHES
        return run

    return make


def sit(run: TranslationRun, *listeners: Listener, log: RunLog | None = None) -> Trainer[Batch]:
    """Open a run and make a trainer, as `heed train` does, in a process with other random numbers."""
    run = TranslationRun.open(run.path)
    batches = translation_run.batches(run, translation_run.load_corpus(run))
    torch.manual_seed(99)
    return Trainer(run, batches, Engine(CPU), listeners, log)


def state(trainer: Trainer[Batch]) -> dict[str, Tensor]:
    """All that training changes."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in trainer.network.named_parameters()}
    moments = {
        f"{names[parameter]}/{key}": value
        for parameter, values in trainer.optimizer.state.items()
        for key, value in values.items()
    }
    return {**trainer.network.state_dict(), **moments}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def checkpoints(run: Run[Any]) -> list[int]:
    return [checkpoint.load_progress(path).step for path in run.steps()]


def averaged(run: Run[Any]) -> dict[str, Tensor]:
    return run.load_network(run.average_path).state_dict()


@pytest.mark.parametrize("stop_at", [1, 3, N_BATCHES, 5, 7])
def test_a_stopped_run_goes_on_as_if_never_stopped(make_run: MakeRun, stop_at: int) -> None:
    """Bit for bit: in mid-epoch, at its end, at a validation, at the last step; dropout draws in every step."""
    whole, parts = Recorder(), Recorder()
    uninterrupted = sit(make_run("whole", average=3), whole)
    assert uninterrupted.train()

    run = make_run("parts", average=3)
    first = sit(run, parts)
    parts.after = {stop_at: first.stop}
    assert not first.train()
    assert first.progress.step == checkpoints(run)[-1] == stop_at
    second = sit(run, parts)
    assert second.progress.step == stop_at
    assert second.train()

    assert_same(state(second), state(uninterrupted))
    assert [report.loss for report in parts.steps] == [report.loss for report in whole.steps]
    assert second.progress.seconds >= first.progress.seconds > 0
    # What a stop has saved does not count among the last checkpoints.
    assert checkpoints(run) == checkpoints(uninterrupted.run)
    assert_same(averaged(run), averaged(uninterrupted.run))


def test_a_killed_run_goes_on_from_its_last_checkpoint(make_run: MakeRun) -> None:
    def power_cut() -> None:
        raise KeyboardInterrupt

    uninterrupted = sit(make_run("whole"))
    uninterrupted.train()
    run = make_run("parts")
    with pytest.raises(KeyboardInterrupt):
        sit(run, Recorder({5: power_cut})).train()
    assert checkpoints(run) == [3]
    second = sit(run)
    second.train()
    assert_same(state(second), state(uninterrupted))


def test_training_does_something_and_a_seed_fixes_it(make_run: MakeRun) -> None:
    before = {name: tensor.clone() for name, tensor in sit(make_run()).network.state_dict().items()}
    found = []
    for name, seed in (("first", 1), ("same", 1), ("other", 2)):
        trainer = sit(make_run(name, seed=seed))
        trainer.train()
        found.append(state(trainer))
    assert_same(found[1], found[0])
    for name, tensor in before.items():
        assert not torch.equal(found[0][name], tensor), name
        assert not torch.equal(found[0][name], found[2][name]), name


def test_a_step_follows_the_schedule_and_reports_it(make_run: MakeRun) -> None:
    recorder = Recorder()
    run = make_run(learning_rate_scale=2.0)
    sit(run, recorder).train()
    assert [report.step for report in recorder.steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [report.epoch for report in recorder.steps] == [0, 0, 0, 0, 1, 1, 1]
    rates = [2 * learning_rate(step, d_model=16, warmup=3) for step in range(1, 8)]
    assert [report.learning_rate for report in recorder.steps] == rates
    lengths = translation_run.load_corpus(run).sample().tgt.lengths
    assert sum(report.n_tokens for report in recorder.steps[:N_BATCHES]) == (lengths + 1).sum()
    assert [report.share_done for report in recorder.steps] == [step / 7 for step in range(1, 8)]


def test_a_step_is_adam_s_on_the_mean_loss_of_a_token(make_run: MakeRun) -> None:
    """β₁ = 0.9, β₂ = 0.98 and ε = 10^-9 (section 5.3), written out for the first step."""
    run = make_run(steps=1)
    trainer = sit(run)
    pad_id = run.src_tokenizer.pad_id
    batch = next(trainer.batches.epoch(0, trainer.run.train.seed))
    trainer.reseed(1)
    logits = trainer.network.train()(batch.src, padding_mask(batch.src, pad_id), batch.tgt)
    loss = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=pad_id, label_smoothing=0.1)
    names, parameters = zip(*trainer.network.named_parameters(), strict=True)
    slopes = torch.autograd.grad(loss, parameters)
    before = [parameter.detach().clone() for parameter in parameters]

    trainer.step(batch)  # with the same dropout
    rate = learning_rate(1, d_model=16, warmup=3)
    for name, parameter, start, slope in zip(names, parameters, before, slopes, strict=True):
        moments = trainer.optimizer.state[parameter]
        assert_close(moments["exp_avg"], (1 - 0.9) * slope, msg=name)
        assert_close(moments["exp_avg_sq"], (1 - 0.98) * slope**2, msg=name)
        seen = moments["exp_avg"] / (1 - 0.9)  # near zero its sign decides, so it is taken as it was computed
        assert_close(parameter.detach(), start - rate * seen / (seen.abs() + 1e-9), msg=name)


def test_training_that_diverges_ends_with_a_way_out(make_run: MakeRun) -> None:
    run = make_run(learning_rate_scale=1e38)
    with pytest.raises(HeedError) as caught:
        sit(run).train()
    assert str(caught.value).startswith(f"{run.path}: training diverged at step 3: the loss or its gradient is nan; ")
    assert "learning rate" in str(caught.value)
    assert checkpoints(run) == []


def test_validation_comes_every_so_many_steps_and_at_the_end(make_run: MakeRun) -> None:
    recorder = Recorder()
    run = make_run()
    sit(run, recorder).train()
    assert [(v.step, v.averaged) for v in recorder.validations] == [(3, False), (6, False), (7, False), (7, True)]
    assert checkpoints(run) == [3, 6, 7]


def test_a_validation_has_the_loss_of_a_token_and_a_sample(make_run: MakeRun) -> None:
    run = make_run()
    trainer = sit(run)
    validation, again = trainer.validate(), trainer.validate()
    assert validation
    assert again
    assert validation == dataclasses.replace(again, minutes=validation.minutes)  # without dropout
    example = validation.result.example
    assert (example["source"], example["reference"]) == ("1 2", "2 1")
    tokenizer = run.src_tokenizer
    nll = n_tokens = 0.0
    for src_text, tgt_text in (("1 2", "2 1"), ("3", "3")):
        (src_ids,), (tgt_ids,) = tokenizer.encode([src_text]), tokenizer.encode([tgt_text])
        src = torch.tensor([[*src_ids, tokenizer.eos_id]])
        targets = torch.tensor([[*tgt_ids, tokenizer.eos_id]])
        tgt = torch.tensor([[tokenizer.bos_id, *tgt_ids]])
        log_probs = trainer.network(src, torch.ones(1, 1, 1, src.shape[1], dtype=torch.bool), tgt).log_softmax(-1)
        nll -= log_probs.gather(2, targets[..., None]).sum().item()
        n_tokens += targets.numel()
    assert validation.result.loss == pytest.approx(nll / n_tokens)


def test_the_last_checkpoints_and_the_best_are_kept(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    bleus = {1: 5.0, 2: 9.0, 3: 9.0, 4: 8.0, 5: 1.0, 6: 2.0, 7: 3.0}

    def validate(trainer: Trainer[Batch]) -> Validation:
        step = trainer.progress.step
        return Validation(
            step=step,
            epoch=0,
            minutes=0.0,
            result=ValidationResult(loss=1.0 + step, figures={"bleu": bleus[step]}, example={}),
        )

    monkeypatch.setattr(Trainer, "validate", validate)
    run = make_run(valid_every=1, average=2)
    sit(run).train()
    assert checkpoints(run) == [2, 6, 7]  # of equal BLEU the one with the lower loss


def test_the_average_is_the_mean_of_the_last_checkpoints(make_run: MakeRun) -> None:
    run = make_run(valid_every=2, average=2)
    trainer = sit(run)
    trainer.train()
    first, second = (run.load_network(run.checkpoint_path(step)).state_dict() for step in (6, 7))
    for name, tensor in run.load_network(run.average_path).state_dict().items():
        assert_close(tensor, (first[name] + second[name]) / 2, msg=name)
    assert not (run.average_path / OPTIMIZER).exists()
    # The network goes on with what it has learnt, and training with it from the last checkpoint.
    assert_same(trainer.network.state_dict(), second)
    assert checkpoint.load_progress(run.average_path).bleu is not None


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"steps": 5}, 5),
        ({"steps": None, "epochs": 2}, 2 * N_BATCHES),
        ({"steps": 5, "epochs": 2}, 5),
        ({"steps": 9, "epochs": 1}, N_BATCHES),
    ],
)
def test_the_nearest_limit_ends_training(make_run: MakeRun, limits: dict[str, object], steps: int) -> None:
    recorder = Recorder()
    run = make_run(**limits)
    assert sit(run, recorder).train()
    assert len(recorder.steps) == checkpoints(run)[-1] == steps
    assert run.average_path.is_dir()
    shares = [report.share_done for report in recorder.steps]
    assert shares == sorted(shares)
    again = Recorder()
    assert sit(run, again).train()  # nothing is left to do
    assert again.steps == []


class Clock:
    """Ten seconds pass between two looks at it."""

    def __init__(self) -> None:
        self._times = itertools.count(0.0, 10.0)

    def monotonic(self) -> float:
        return next(self._times)


def test_time_ends_training_over_all_sittings(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, recorder = Clock(), Recorder()
    monkeypatch.setattr(trainer_module, "time", clock)
    run = make_run(steps=None, minutes=10)
    first = sit(run, recorder)
    recorder.after = {6: first.stop}
    first.train()
    assert 100 < first.progress.seconds < 400
    begin = clock.monotonic()
    assert sit(run, recorder).train()
    own = clock.monotonic() - begin
    saved = checkpoint.load_progress(run.steps()[-1])
    assert 600 <= saved.seconds < 750
    assert saved.seconds == pytest.approx(first.progress.seconds + own, abs=100)  # `own` has the averaging as well
    assert len(recorder.steps) == saved.step


def test_the_log_of_a_run_has_its_steps_and_validations(make_run: MakeRun) -> None:
    run = make_run()
    with RunLog(run.path, every=2) as log:
        sit(run, log=log).train()
    records = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [record["step"] for record in records if record["event"] == "step"] == [2, 4, 6]
    assert [record["step"] for record in records if record["event"] == "validation"] == [3, 6, 7, 7]


def test_the_configuration_of_a_run_opens_to_what_was_asked(make_run: MakeRun) -> None:
    run = make_run(seed=5, epochs=3)
    found = TranslationRun.open(run.path)
    assert (found.spec, found.train) == (run.spec, run.train)
    assert to_table(found.train)["epochs"] == 3


def test_a_damaged_last_checkpoint_is_refused_by_name(make_run: MakeRun) -> None:
    run = make_run(steps=2)
    sit(run).train()
    file = run.steps()[-1] / OPTIMIZER
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ModelError) as caught:
        sit(run)
    assert str(file) in str(caught.value)


def test_bfloat16_trains_in_it_and_keeps_weights_in_float32(make_run: MakeRun) -> None:
    recorder = Recorder()
    trainer = sit(make_run(precision="bfloat16", steps=2), recorder)
    trainer.train()
    assert trainer.precision == torch.bfloat16
    assert {tensor.dtype for tensor in state(trainer).values()} == {torch.float32}
    wide = Recorder()
    sit(make_run("wide", steps=2), wide).train()
    narrow_loss, wide_loss = (listener.steps[0].loss for listener in (recorder, wide))
    assert narrow_loss != wide_loss
    assert narrow_loss == pytest.approx(wide_loss, rel=0.02)  # the same dropout; logits to 8 bits


def test_precision_is_what_was_asked() -> None:
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("auto", CPU) in (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("features", [{"avx512_bf16": True}, {"amx_bf16": True}])
def test_automatic_precision_is_what_the_processor_computes_in(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert choose_precision("auto", CPU) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert choose_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gpu", "is neither cpu nor cuda; give --device cpu"),
        ("meta:x", "is neither cpu nor cuda; give --device cpu"),
        ("cuda:77", "cannot be used: "),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(ModelError) as caught:
        choose_device(name)
    assert str(caught.value).startswith(f"device {name!r} {complaint}")
    assert str(caught.value).endswith("; give --device cpu")
    assert "\n" not in str(caught.value)


def test_progress_counts_from_nothing(make_run: MakeRun) -> None:
    assert sit(make_run()).progress == Progress()
