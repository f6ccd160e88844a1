"""The log of a training run, log.jsonl, read without torch."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heed.models.errors import ModelError
from heed.models.records import record
from heed.models.runs.settings import config_file, read_config

Record = Mapping[str, Any]
Point = tuple[int, float]  # a step and a figure
# Weights that are validated besides the current ones, by their mark in a record.
VARIANTS = {"averaged": "average"}


@record(frozen=True, kw_only=True)
class History:
    """The history of a run.

    Records are ordered by step. A run that returned to an earlier checkpoint repeats steps; of two records of a step
    the later one counts.
    """

    path: Path
    task: str  # "translate" or "generate"
    best_by: str  # "bleu" or "loss"
    written: float  # time of the last write, in seconds since 1970
    start: Record  # facts about the last session's data, network and machine
    steps: Sequence[Record]
    validations: Sequence[Record]
    marks: Sequence[Record]  # all other events

    @classmethod
    def read(cls, path: Path) -> "History":
        """Read the log of a run, which may be in progress.

        Raises:
            ModelError: It is not a run, has no log yet, or is damaged.
        """
        config = read_config(config_file(path))
        file = path / "log.jsonl"
        if not file.is_file():
            raise ModelError(f"{path}: no records yet; continue with: heed train --resume {path}")
        records = _read_records(file)
        placed = {_place(record): record for record in records if "step" in record}  # the later one counts
        ordered = sorted(placed.values(), key=lambda record: record["step"])
        starts = [record for record in records if record["event"] == "start"]
        return cls(
            path=path,
            task=config.task,
            best_by=str(config.train.get("best_by", "bleu")),  # the only measure of earlier versions
            written=file.stat().st_mtime,
            start=starts[-1] if starts else {},
            steps=[record for record in ordered if record["event"] == "step"],
            validations=[record for record in ordered if record["event"] == "validation"],
            marks=[record for record in ordered if record["event"] not in ("start", "step", "validation")],
        )

    @property
    def last_step(self) -> int:
        """The last step in the log."""
        return max((record["step"] for record in (*self.steps, *self.validations)), default=0)

    @property
    def finished(self) -> bool:
        """Whether the limit was reached; only then the average of the last checkpoints is validated."""
        return any(record.get("averaged") and record["step"] == self.last_step for record in self.validations)

    @property
    def minutes(self) -> float:
        """Minutes of training up to the last validation."""
        return max((minutes for _, minutes in points(self.validations, "minutes")), default=0.0)

    @property
    def tokens_per_second(self) -> float | None:
        """The median, which is insensitive to pauses of the machine."""
        speeds = [speed for _, speed in points(self.steps, "tokens_per_second")]
        return statistics.median(speeds) if speeds else None

    @property
    def best(self) -> Record | None:
        """The best validation by the run's measure: BLEU with loss to break ties, or loss."""
        rated = [record for record in self.validations if is_number(record.get("loss"))]
        return max(rated, key=self._worth, default=None)

    def _worth(self, record: Record) -> tuple[float, float]:
        bleu = _or(record.get("bleu"), -1.0) if self.best_by == "bleu" else 0.0
        return bleu, -record["loss"]

    def validated(self, variant: str = "") -> list[Record]:
        """The validations of the current weights, or of others; see `VARIANTS`."""
        return [record for record in self.validations if variant_of(record) == variant]

    def summary(self) -> dict[str, object]:
        """The facts and the progress of the run, as one object."""
        return {
            "task": self.task,
            "parameters": self.start.get("parameters"),
            "steps": self.last_step,
            "minutes": self.minutes,
            "tokens_per_second": self.tokens_per_second,
            "finished": self.finished,
            "best": self.best,
        }


def points(records: Sequence[Record], key: str) -> list[Point]:
    """The values of a figure by step, where it is a number."""
    return [(record["step"], record[key]) for record in records if is_number(record.get(key))]


def variant_of(record: Record) -> str:
    """Which weights were validated; "" means the current ones."""
    return next((variant for variant in VARIANTS if record.get(variant) is True), "")


def is_run(path: Path) -> bool:
    """Whether a directory looks like a run; a config.toml alone is not enough."""
    return (path / "config.toml").is_file() and ((path / "log.jsonl").is_file() or (path / "checkpoints").is_dir())


def is_number(value: object) -> bool:
    """Whether a value can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _or(value: object, otherwise: float) -> float:
    return value if isinstance(value, (int, float)) else otherwise


def _place(record: Record) -> tuple[object, ...]:
    """The key by which two records describe the same thing."""
    return record["event"], record["step"], variant_of(record)


def _read_records(file: Path) -> list[Record]:
    r"""The records of a log; a last line without \n is incomplete and ignored.

    Raises:
        ModelError: A line is damaged.
    """
    *lines, _ = file.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not _is_record(record):
            raise ModelError(f"{file}: line {number} is damaged; delete that line")
        records.append(record)
    return records


def _is_record(record: object) -> bool:
    """Whether a record names its event and, for steps and validations, its step."""
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return False
    needs_step = record["event"] in ("step", "validation")
    return isinstance(record.get("step"), int) or not (needs_step or "step" in record)
