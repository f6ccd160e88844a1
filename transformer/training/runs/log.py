"""Reports of training, and their record in the run's directory."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch.utils.tensorboard.writer import SummaryWriter

from heed.models.system.files import named_errors
from heed.transformer.training.objectives.objectives import ValidationResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimizer step."""

    step: int  # from 1
    epoch: int  # from 0
    loss: float  # label-smoothed, in nats, summed over the batch
    nll: float  # negative log-likelihood in nats, summed over the batch
    n_tokens: int  # target tokens in the batch
    n_filled: int  # positions of the batch with a token
    n_cells: int  # all positions
    grad_norm: float  # norm of the gradient of the mean loss per token, before clipping
    flops: float  # operations of the step, without padding
    learning_rate: float
    seconds: float  # time since the end of the last step, including the batch's preparation
    share_done: float  # share of the way to the nearest limit, 0 to 1
    n_copied: int = 0  # pairs with other names or numbers than in the text, see --copy-augment
    n_recased: int = 0  # pairs in another case, see --case-augment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation of the network at a step."""

    step: int
    epoch: int
    minutes: float  # of training so far, over all sessions
    averaged: bool = False  # whether the weights are the average of the last checkpoints
    result: ValidationResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Incident:
    """An incident, and what was done about it."""

    event: str  # "skipped": a step with a gradient that was not finite; "rolled_back": to an earlier checkpoint
    step: int
    facts: Mapping[str, float]


class Listener(Protocol):
    """Receives reports of training."""

    def on_step(self, report: StepReport) -> None:
        """A step is done."""
        ...

    def on_validation(self, validation: Validation) -> None:
        """The network was validated."""
        ...

    def on_incident(self, incident: Incident) -> None:
        """Something went wrong."""
        ...


class Meter:
    """Averages over the steps since it was last read.

    Args:
        sums: The sums of an earlier meter; see `sums`.
    """

    COUNTS = ("n_copied", "n_recased")  # pairs that were augmented
    FIELDS = ("loss", "nll", "n_tokens", "n_filled", "n_cells", "flops", "seconds", "grad_norm", "n_steps", *COUNTS)

    def __init__(self, sums: Mapping[str, float] | None = None) -> None:
        self.sums: dict[str, float] = {**dict.fromkeys(self.FIELDS, 0), **(sums or {})}

    def add(self, report: StepReport) -> None:
        """Add a step."""
        for field in self.FIELDS:
            self.sums[field] += 1 if field == "n_steps" else getattr(report, field)

    def read(self) -> dict[str, float]:
        """Loss, perplexity, gradient norm, share of padding, tokens and operations per second; then resets."""
        sums = self.sums
        n_tokens, seconds = max(sums["n_tokens"], 1), max(sums["seconds"], 1e-9)
        means = {
            "loss": sums["loss"] / n_tokens,
            "perplexity": perplexity(sums["nll"] / n_tokens),
            "grad_norm": sums["grad_norm"] / max(sums["n_steps"], 1),
            "padding": 1 - sums["n_filled"] / max(sums["n_cells"], 1),
            "tokens_per_second": sums["n_tokens"] / seconds,
            "flops_per_second": sums["flops"] / seconds,
        }
        means.update({name.removeprefix("n_"): sums[name] for name in self.COUNTS if sums[name]})
        self.sums = dict.fromkeys(self.FIELDS, 0)
        return means


def perplexity(nll: float) -> float:
    """e^nll for a negative log-likelihood per token in nats; infinite on overflow."""
    return math.exp(nll) if nll < 700 else math.inf


class RunLog:
    """Writes a run's `log.jsonl` and TensorBoard events.

    The log equals that of a run that was never stopped, except for measured times: records after the checkpoint from
    which a session resumes are cut off, because they come again.

    Args:
        directory: The run's directory.
        every: Steps between two records.
        peak: Peak operations per second of the device.
    """

    def __init__(self, directory: Path, every: int = 50, peak: float = math.inf) -> None:
        self._directory = directory
        self._file = (directory / "log.jsonl").open("ab")
        self._events: SummaryWriter | None = None
        self._every, self.peak = every, peak
        self._meter = Meter()
        self._first_step = 0

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._events:
            self._events.close()

    @property
    def state(self) -> dict[str, Any]:
        """The state for `restore`, at the end of a step."""
        return {"bytes": self._file.tell(), "sums": dict(self._meter.sums)}

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Continue after the step of `state`; {}: at the end of the log."""
        self._file.truncate(min(state.get("bytes", self._file.tell()), os.fstat(self._file.fileno()).st_size))
        self._file.seek(0, os.SEEK_END)
        self._meter = Meter(state.get("sums"))
        self._first_step = step + 1

    def on_start(self, **facts: object) -> None:
        """Record the facts about data, network and machine, at the start of a run."""
        if self._file.tell() == 0:
            self._record("start", facts)

    def on_step(self, report: StepReport) -> None:
        """See `Listener`."""
        self._meter.add(report)
        if report.step % self._every == 0:
            means = {**self._meter.read(), "learning_rate": report.learning_rate}
            means["mfu"] = means.pop("flops_per_second") / self.peak
            self._record("step", {"step": report.step, "epoch": report.epoch, **means})
            self._draw("train", means, report.step)

    def on_validation(self, validation: Validation) -> None:
        """See `Listener`."""
        result = validation.result
        figures = {"loss": result.loss, "perplexity": perplexity(result.loss), **result.figures}
        where = {name: getattr(validation, name) for name in ("step", "epoch", "minutes", "averaged")}
        self._record("validation", {**where, **figures, **result.example})
        if not validation.averaged:
            self._draw("valid", figures, validation.step)

    def on_incident(self, incident: Incident) -> None:
        """See `Listener`."""
        self._record(incident.event, {"step": incident.step, **incident.facts})

    def _draw(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Write figures for TensorBoard, where repeated steps replace earlier ones."""
        events = self._events or SummaryWriter(
            str(self._directory / "tensorboard"), purge_step=self._first_step or None
        )
        self._events = events
        for name, value in figures.items():
            events.add_scalar(f"{group}/{name}", value, step)

    def _record(self, event: str, facts: Mapping[str, object]) -> None:
        rounded = {key: _rounded(value) if isinstance(value, float) else value for key, value in facts.items()}
        with named_errors(Path(self._file.name)):
            self._file.write((json.dumps({"event": event, **rounded}, ensure_ascii=False) + "\n").encode())
            self._file.flush()


def _rounded(value: float) -> float | None:
    """Round to six digits after the point; None for infinity and NaN, which JSON lacks."""
    return round(value, 6) if math.isfinite(value) else None
