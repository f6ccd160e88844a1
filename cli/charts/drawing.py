"""What a terminal and a picture show of runs: headlines, and panels of curves over the same steps."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from heed.cli.charts.headline import Headline, headlines
from heed.cli.charts.scale import Scale
from heed.models.errors import ModelError
from heed.models.runs.history import VARIANTS, History, Point, is_number, points, variant_of

VALIDATION = "of the validation text"
TITLES = {  # titles and units of the panels, in order, by the figure in the records
    "loss": ("Training loss", "nats a token"),
    "perplexity": ("Perplexity", "a token"),
    "bleu": ("BLEU", VALIDATION),
    "bits_per_byte": ("Bits a byte", VALIDATION),
    "learning_rate": ("Learning rate", ""),
}
TRAINED = ("loss", "perplexity", "learning_rate")
VALIDATED = ("perplexity", "bleu", "bits_per_byte")
ON_LOG = ("perplexity",)
SMOOTHED_SHARE = 0.025  # share of a curve's points that are averaged, on either side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure over the steps."""

    label: str  # "" if it is obvious
    hue: int  # number of the colour: that of the run if there are several, else 0 for training and 1 for validation
    points: Sequence[Point]  # as recorded
    smooth: Sequence[Point]  # smoothed, for the eye
    dots: bool = False  # whether each point is marked, as validations are
    joined: bool = True  # whether the points are connected; the average of the last checkpoints is a single point
    best: Point | None = None  # the best checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Curves of the same figure."""

    title: str
    unit: str
    curves: Sequence[Curve]
    log: bool = False

    @property
    def lines(self) -> Sequence[Curve]:
        """The connected curves with a name; if there are none, all curves."""
        return [curve for curve in self.curves if curve.label and curve.joined] or self.curves

    @property
    def scale(self) -> Scale:
        """The range of values of all curves."""
        return Scale.of([value for curve in self.curves for _, value in curve.points], log=self.log)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """Everything that is drawn for some runs."""

    headlines: Sequence[Headline]
    panels: Sequence[Panel]
    events: Sequence[tuple[int, str]]  # what else happened at a step

    @classmethod
    def of(cls, histories: Sequence[History]) -> "Drawing":
        """The drawing of some runs.

        Raises:
            ModelError: A run has no figures yet.
        """
        for history in histories:
            if not _panels([history], [""]):
                raise ModelError(f"{history.path}: no figures yet; training records the first ones after some steps")
        words = headlines(histories)
        return cls(
            headlines=words,
            panels=_panels(histories, [run.name for run in words]),
            events=[(mark["step"], mark["event"]) for history in histories for mark in history.marks],
        )

    @property
    def several(self) -> bool:
        """Whether curves are named after their runs."""
        return len(self.headlines) > 1

    @property
    def steps(self) -> Scale:
        """The axis of all panels, from 0 to the last step."""
        return Scale(
            low=0, high=max(step for panel in self.panels for curve in panel.curves for step, _ in curve.points)
        )


def _panels(histories: Sequence[History], names: Sequence[str]) -> list[Panel]:
    """The panels with figures; curves are named after what they show or, for several runs, after the runs.

    For several runs training perplexity is omitted, because twice as many curves would be unreadable.
    """
    alone = len(histories) == 1
    curves: dict[str, list[Curve]] = {figure: [] for figure in TITLES}
    for number, (history, name) in enumerate(zip(histories, names, strict=True)):
        for figure in TRAINED:
            if alone or figure not in VALIDATED:
                curves[figure].append(_training(history, figure, "train" if alone else name, 0 if alone else number))
        for figure in VALIDATED:
            if alone:
                curves[figure] += _validation(history, figure, {"": "valid"} | VARIANTS, 1)
            else:
                curves[figure] += _validation(history, figure, {"": name} | dict.fromkeys(VARIANTS, ""), number)
    drawn = {figure: [curve for curve in found if curve.points] for figure, found in curves.items()}
    return [
        Panel(
            title=title,
            unit=unit if alone or figure not in VALIDATED else VALIDATION,
            curves=drawn[figure],
            log=figure in ON_LOG,
        )
        for figure, (title, unit) in TITLES.items()
        if drawn[figure]
    ]


def _training(history: History, figure: str, label: str, hue: int) -> Curve:
    found = points(history.steps, figure)
    smooth = found if figure == "learning_rate" else smoothed(found, log=figure in ON_LOG)
    return Curve(label=label, hue=hue, points=found, smooth=smooth)


def _validation(history: History, figure: str, labels: Mapping[str, str], hue: int) -> Iterator[Curve]:
    """The validation curve of the current weights, and those of averaged weights."""
    best = history.best
    for variant, label in labels.items():
        found = points(history.validated(variant), figure)
        is_best = best is not None and variant_of(best) == variant and is_number(best.get(figure))
        yield Curve(
            label=label,
            hue=hue,
            points=found,
            smooth=found,
            dots=True,
            joined=variant != "averaged",
            best=(best["step"], best[figure]) if best and is_best else None,
        )


def smoothed(found: Sequence[Point], *, log: bool = False) -> list[Point]:
    """A moving average of a curve; on a log axis the geometric mean.

    The window is symmetric except at the end: a steep start keeps its first value, and the present value rests on
    more than the last record.
    """
    log = log and all(value > 0 for _, value in found)
    into, back = (math.log, math.exp) if log else (float, float)
    sums = [0.0, *itertools.accumulate(into(value) for _, value in found)]
    most, smooth = round(len(found) * SMOOTHED_SHARE), []
    for i, (step, _) in enumerate(found):
        half = min(most, i)
        first, end = i - half, min(i + half + 1, len(found))
        smooth.append((step, back((sums[end] - sums[first]) / (end - first))))
    return smooth
