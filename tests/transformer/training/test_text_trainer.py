"""Training on text; what it shares with training to translate is shown in test_trainer.py."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from heed.models.errors import ModelError
from heed.models.spec.options import changed
from heed.models.spec.preset import complete, preset
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.batching.packing import TextBatch
from heed.transformer.data.preparation.text_run import load_text, new_text_run
from heed.transformer.training.engine import Engine
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import WEIGHTS
from heed.transformer.training.runs.log import Incident, StepReport, Validation
from heed.transformer.training.runs.run import TextRun, TranslationRun, open_run
from heed.transformer.training.runs.settings import TextConfig
from heed.transformer.training.schedule import cosine
from heed.transformer.training.trainer import Trainer

CPU = torch.device("cpu")
SIZES = {"n_layers": 1, "d_model": 16, "d_ff": 24, "n_heads": 2, "n_kv_heads": 1, "context": 16, "dropout": 0.3}
NETWORK = changed(complete(preset("gpt2")["network"]), SIZES)


class Recorder:
    """A listener that remembers, and stops a trainer after a step."""

    def __init__(self) -> None:
        self.steps: list[StepReport] = []
        self.validations: list[Validation] = []
        self.rates: list[list[float]] = []
        self.stop_at: tuple[int, Callable[[], None]] = (0, lambda: None)

    def on_step(self, report: StepReport) -> None:
        self.steps.append(report)
        at, stop = self.stop_at
        if report.step == at:
            stop()

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)

    def on_incident(self, incident: Incident) -> None:
        raise AssertionError(incident)


class MakeRun(Protocol):
    def __call__(self, name: str = "run", /, **wishes: object) -> TextRun: ...


@pytest.fixture
def make_run(
    verbatim: TextTokenizer,
    digit_lines: Callable[[int, int], list[str]],
    write_lines: Callable[[str, list[str]], str],
    tmp_path: Path,
) -> MakeRun:
    """A run of a tiny network on one text."""
    (tmp_path / "verbatim.model").write_bytes(verbatim.pieces.model)
    files = {
        "text": (write_lines("train.txt", digit_lines(40, 1)),),
        "valid_text": (write_lines("valid.txt", ["1 2 3", "\u00e9"]), write_lines("other.txt", ["4 5 6 7 8 9 0 1 2"])),
        "tokenizer": (str(tmp_path / "verbatim.model"),),
    }
    settings = {"batch_tokens": 64, "warmup": 3, "precision": "float32", "steps": 7, "valid_every": 3, "average": 2}

    def make(name: str = "run", /, **wishes: object) -> TextRun:
        config = TextConfig(**files | settings | wishes)  # type: ignore[arg-type]
        run, _ = new_text_run(tmp_path / name, NETWORK, config)
        return run

    return make


def sit(run: TextRun, *listeners: Recorder) -> Trainer[TextBatch]:
    """Open a run and make a trainer, as `heed train` does, in a process with other random numbers."""
    run = TextRun.open(run.path)
    packing = load_text(run)
    torch.manual_seed(99)
    return Trainer(run, packing, Engine(CPU), listeners)


def state(trainer: Trainer[TextBatch]) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in trainer.network.named_parameters()}
    moments = {
        f"{names[parameter]}/{key}": value
        for parameter, values in trainer.optimizer.state.items()
        for key, value in values.items()
    }
    return {**trainer.network.state_dict(), **moments}


@pytest.mark.parametrize("stop_at", [1, 3, 5, 6])
@pytest.mark.parametrize("limit", [{"steps": 7}, {"steps": None, "epochs": 2}], ids=["steps", "epochs"])
def test_a_stopped_run_goes_on_as_if_never_stopped(make_run: MakeRun, stop_at: int, limit: dict[str, object]) -> None:
    """Bit for bit; dropout draws in every step, and the learning rate falls."""
    whole, parts = Recorder(), Recorder()
    uninterrupted = sit(make_run("whole", **limit), whole)
    assert uninterrupted.train()

    run = make_run("parts", **limit)
    first = sit(run, parts)
    parts.stop_at = stop_at, first.stop
    assert not first.train()
    second = sit(run, parts)
    assert second.progress.step == stop_at
    assert second.train()
    found, expected = state(second), state(uninterrupted)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    for name in ("loss", "learning_rate", "share_done"):
        assert [getattr(step, name) for step in parts.steps] == [getattr(step, name) for step in whole.steps]
    assert [path.name for path in run.steps()] == [path.name for path in uninterrupted.run.steps()]


@pytest.mark.parametrize("limit", [{"steps": 12}, {"steps": None, "epochs": 2}], ids=["steps", "epochs"])
def test_the_rate_rises_and_falls_to_a_tenth(make_run: MakeRun, limit: dict[str, object]) -> None:
    """By half a cosine, and where the limit is in epochs, within each of them too."""
    recorder = Recorder()
    trainer = sit(make_run(learning_rate=0.01, warmup=2, **limit), recorder)
    trainer.train()
    rates = [report.learning_rate for report in recorder.steps]
    n = len(rates)
    expected = [
        0.01 * min(step / 2, 1) * (0.1 + 0.9 * (1 + math.cos(math.pi * report.share_done)) / 2)
        for step, report in enumerate(recorder.steps, 1)
    ]
    assert rates == pytest.approx(expected)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert len(set(rates)) == n
    assert rates[-1] == pytest.approx(0.001)
    assert [report.share_done for report in recorder.steps] == pytest.approx(
        [step / n for step in range(1, n + 1)], abs=0.05
    )


def test_the_cosine() -> None:
    assert [cosine(step, 0.0, warmup=4) for step in range(1, 7)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert cosine(100, 0.5, warmup=4) == pytest.approx(0.55)
    assert cosine(100, 1.0, warmup=4) == cosine(100, 1.3, warmup=4) == pytest.approx(0.1)
    falling = [cosine(100, share / 50, warmup=4) for share in range(51)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("scale", [0.1, 1.0], ids=["small gradients", "clipped gradients"])
def test_a_step_is_that_of_adam_with_weight_decay(make_run: MakeRun, scale: float) -> None:
    """β₁ = 0.9, β₂ = 0.95, ε = 10^-8, gradients to norm 1, decay of matrices alone; written out for the first step."""
    trainer = sit(make_run(steps=1, learning_rate=0.01, warmup=1, weight_decay=0.2))
    network = trainer.network
    with torch.no_grad():
        network.get_parameter("decoder.norm.weight").mul_(scale)
    batch = next(trainer.batches.epoch(0, trainer.run.train.seed))
    trainer.reseed(1)
    logits = network.train()(tgt=batch.ids, positions=batch.positions)
    pad_id = 0
    loss = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=pad_id)
    names, parameters = zip(*network.named_parameters(), strict=True)
    slopes = torch.autograd.grad(loss, parameters)
    before = [parameter.detach().clone() for parameter in parameters]
    norm = math.sqrt(sum(float(slope.square().sum()) for slope in slopes))
    assert (norm > 1) == (scale == 1)

    trainer.step(batch)  # with the same dropout
    rate = 0.01 * cosine(1, 1.0, warmup=1)
    for name, parameter, start, slope in zip(names, parameters, before, slopes, strict=True):
        clipped = slope / max(norm, 1)
        moments = trainer.optimizer.state[parameter]
        assert_close(moments["exp_avg"], (1 - 0.9) * clipped, msg=name, rtol=1e-4, atol=1e-7)
        assert_close(moments["exp_avg_sq"], (1 - 0.95) * clipped**2, msg=name, rtol=1e-4, atol=1e-9)
        seen = moments["exp_avg"] / (1 - 0.9)  # near zero its sign decides, so it is taken as it was computed
        decayed = start * (1 - rate * 0.2) if start.dim() == 2 else start
        assert_close(parameter.detach(), decayed - rate * seen / (seen.abs() + 1e-8), msg=name, rtol=1e-4, atol=1e-6)


def test_a_validation_has_the_loss_of_a_token_and_the_bits_of_a_byte(make_run: MakeRun) -> None:
    run = make_run()
    trainer = sit(run)
    validation = trainer.validate()
    assert validation
    result = validation.result
    tokenizer, network = run.tokenizer, trainer.network.eval()
    assert [document.text for document in run.validation] == ["1 2 3\n\u00e9\n", "4 5 6 7 8 9 0 1 2\n"]
    ids = [token for document in run.validation for token in (*tokenizer.encode(document.text), tokenizer.eos_id)]
    # Pieces of documents: rows of 16 tokens, cut also where one ends.
    begins = [place for place in range(len(ids)) if place % 16 == 0 or ids[place - 1] == tokenizer.eos_id]
    nll = 0.0
    for begin, end in zip(begins, [*begins[1:], len(ids)], strict=True):
        read = torch.tensor([[tokenizer.bos_id, *ids[begin : end - 1]]])
        log_probs = network(tgt=read).log_softmax(-1)[0]
        nll -= sum(log_probs[place, token].item() for place, token in enumerate(ids[begin:end]))
    assert len(ids) > 16
    assert result.loss == pytest.approx(nll / len(ids))
    n_bytes = len("1 2 3\n\u00e9\n".encode()) + len("4 5 6 7 8 9 0 1 2\n")
    assert result.figures == {"bits_per_byte": pytest.approx(nll / math.log(2) / n_bytes)}


def test_the_best_checkpoint_has_the_lowest_loss(make_run: MakeRun) -> None:
    recorder = Recorder()
    run = make_run(valid_every=1, average=2, steps=6, learning_rate=0.05)
    sit(run, recorder).train()
    losses = {validation.step: validation.result.loss for validation in recorder.validations}
    _, progress = run.best()
    assert progress.loss == min(validation.result.loss for validation in recorder.validations)
    assert len(losses) == 6


def test_the_embeddings_are_stored_once(make_run: MakeRun) -> None:
    run = make_run(steps=1)
    trainer = sit(run)
    trainer.train()
    stored = load_file(run.steps()[-1] / WEIGHTS)
    vocabulary = len(run.tokenizer)
    assert [name for name, tensor in stored.items() if vocabulary in tensor.shape] == ["tgt_embedding.weight"]
    assert sum(tensor.numel() for tensor in stored.values()) == sum(x.numel() for x in trainer.network.parameters())


def test_a_run_opens_to_what_was_asked(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(seed=5, epochs=3)
    found = open_run(run.path)
    assert isinstance(found, TextRun)
    assert (found.spec, found.train) == (run.spec, run.train)
    assert found.tokenizer.digest == run.tokenizer.digest
    with pytest.raises(ModelError, match="a run that learns to generate, where one that learns to translate is needed"):
        TranslationRun.open(run.path)


def test_training_ends_where_the_initial_weights_are_damaged(make_run: MakeRun) -> None:
    run = make_run(steps=1)
    sit(run).train()
    checkpoint.write_weights(run.initial_path, checkpoint.read_weights(run.steps()[-1]))
    (run.initial_path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(ModelError, match=str(run.initial_path / WEIGHTS)):
        sit(run)


def test_a_run_of_pairs_learns_the_completions_alone(
    make_run: MakeRun, write_lines: Callable[[str, list[str]], str]
) -> None:
    """The gradient of a batch is that of its completions' tokens; prompts are read."""
    path = write_lines("pairs.jsonl", [f'{{"prompt": "{n} + 1 = ", "completion": "{n + 1}"}}' for n in range(60)])
    run = make_run(text=(), valid_text=(), pairs=(path,))
    batches = list(load_text(run).epoch(0, 1))
    learnt = [run.tokenizer.decode(row[row > 0].tolist()) for batch in batches for row in batch.targets]
    read = [run.tokenizer.decode(row.tolist()) for batch in batches for row in batch.ids]
    assert not set("+= ") & set("".join(learnt))
    assert {"+", "="} <= set("".join(read))
    assert sum(batch.n_tokens for batch in batches) == sum(
        len(run.tokenizer.encode(str(n + 1))) + 1
        for n in range(60)
        if str(n + 1) not in {d.text for d in run.validation}
    )
    assert dataclasses.asdict(run.validation[0]).keys() == {"text", "prompt"}
