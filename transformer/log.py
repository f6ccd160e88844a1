"""What training reports, and the record of it in the run's directory."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Protocol

from torch.utils.tensorboard.writer import SummaryWriter

from heed.models.files import named_errors
from heed.transformer.objectives import Judgement


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimizer step."""

    step: int  # from 1
    epoch: int  # from 0
    loss: float  # label-smoothed, in nats, summed over the batch
    nll: float  # negative log-likelihood in nats, summed over the batch
    n_tokens: int  # target tokens in the batch
    learning_rate: float
    seconds: float  # that the step took
    share_done: float  # of the way to the nearest limit, 0 to 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """How good the network is at a step."""

    step: int
    epoch: int
    minutes: float  # of training so far, over all sittings
    averaged: bool = False  # whether the weights are the mean of the last checkpoints
    judgement: Judgement


class Listener(Protocol):
    """Whoever is told how training goes."""

    def on_step(self, report: StepReport) -> None:
        """A step is done."""
        ...

    def on_validation(self, validation: Validation) -> None:
        """The network was validated."""
        ...


class Meter:
    """Means over the steps since it was last read."""

    def __init__(self) -> None:
        self._loss = self._nll = self._seconds = 0.0
        self._n_tokens = 0

    def add(self, report: StepReport) -> None:
        """Count a step."""
        self._loss += report.loss
        self._nll += report.nll
        self._n_tokens += report.n_tokens
        self._seconds += report.seconds

    def read(self) -> dict[str, float]:
        """Loss, perplexity and target tokens a second; begins anew."""
        n_tokens, seconds = max(self._n_tokens, 1), max(self._seconds, 1e-9)
        means = {
            "loss": self._loss / n_tokens,
            "perplexity": perplexity(self._nll / n_tokens),
            "tokens_per_second": self._n_tokens / seconds,
        }
        Meter.__init__(self)
        return means


def perplexity(nll: float) -> float:
    """e^nll for a negative log-likelihood a token, in nats; infinite where that overflows."""
    return math.exp(nll) if nll < 700 else math.inf


class RunLog:
    """Writes a run's `log.jsonl` and TensorBoard events.

    Args:
        directory: The run's.
        every: Steps between two records.
    """

    def __init__(self, directory: Path, every: int = 50) -> None:
        self._file = (directory / "log.jsonl").open("a", encoding="utf-8")
        self._events = SummaryWriter(str(directory / "tensorboard"))
        self._every = every
        self._meter = Meter()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._events.close()

    def on_start(self, **facts: object) -> None:
        """Record what the run works with."""
        self._record("start", facts)

    def on_step(self, report: StepReport) -> None:
        """See `Listener`."""
        self._meter.add(report)
        if report.step % self._every == 0:
            means = {**self._meter.read(), "learning_rate": report.learning_rate}
            self._record("step", {"step": report.step, "epoch": report.epoch, **means})
            for name, value in means.items():
                self._events.add_scalar(f"train/{name}", value, report.step)

    def on_validation(self, validation: Validation) -> None:
        """See `Listener`."""
        judgement = validation.judgement
        figures = {"loss": judgement.loss, "perplexity": perplexity(judgement.loss), **judgement.figures}
        where = {name: getattr(validation, name) for name in ("step", "epoch", "minutes", "averaged")}
        self._record("validation", {**where, **figures, **judgement.example})
        if not validation.averaged:
            for name, value in figures.items():
                self._events.add_scalar(f"valid/{name}", value, validation.step)

    def _record(self, event: str, facts: dict[str, object]) -> None:
        rounded = {key: _rounded(value) if isinstance(value, float) else value for key, value in facts.items()}
        with named_errors(Path(self._file.name)):
            self._file.write(json.dumps({"event": event, **rounded}, ensure_ascii=False) + "\n")
            self._file.flush()


def _rounded(value: float) -> float | None:
    """Six digits after the point; JSON has no infinity and no NaN."""
    return round(value, 6) if math.isfinite(value) else None
