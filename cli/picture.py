"""Panels drawn as SVG, which is itself a picture, becomes a PNG, and stands in a page of HTML."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from html import escape

from heed.cli import headline
from heed.cli.panels import Curve, Panel
from heed.cli.scale import Scale, figure, tick
from heed.models.history import History, Point

WIDTH, MARGIN, COLUMNS = 1080, 28, 2  # of the picture, in pixels; panels side by side
GAP = 30  # between panels
HEIGHT = 190  # of what curves are drawn on
TITLE, NUMBERS, LABELS, BELOW = 30, 46, 104, 26  # room above it, left, right and below, for words and numbers
LINE = 21  # of the heading
LABEL_HEIGHT = 14  # between two labels of curves
LONGEST_NAME = 14  # characters of a label, its figure aside
MOST_POINTS = 1000  # of a curve in training; more than the eye or a screen can tell

THEMES = {
    "light": ("#ffffff", "#1f2328", "#59636e", "#e4e7eb", "#c93c37"),
    "dark": ("#0d1117", "#f0f3f6", "#9198a1", "#2a313c", "#ff7b72"),
}  # page, ink, lesser ink, grid, events
HUES = {
    "light": ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#b83280", "#0f766e"),
    "dark": ("#6cb6ff", "#f0883e", "#57d364", "#c297ff", "#f778ba", "#39c5bb"),
}  # each readable on its page, neighbours apart also for those who see red and green alike
N_HUES = len(HUES["light"])
SHAPES = """
text { font-family: system-ui, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", "DejaVu Sans", sans-serif; font-size: 12px }
.name { font-size: 17px; font-weight: 600 } .title { font-size: 13px; font-weight: 600 } .heading { font-size: 13px }
.end { text-anchor: end } .middle { text-anchor: middle }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.raw { fill: none; stroke-width: 1; opacity: 0.35 } .best { stroke-width: 2 } .event { stroke-dasharray: 3 3 }
"""


def style() -> str:
    """The rules of CSS, for a light and for a dark screen; what knows no screens, as a PNG, is light."""
    return f"{SHAPES}{_colors('light')}@media (prefers-color-scheme: dark) {{\n{_colors('dark')}}}\n"


def _colors(theme: str) -> str:
    page, ink, lesser, grid, event = THEMES[theme]
    rules = [
        f".page {{ fill: {page} }} .ink {{ fill: {ink} }} .lesser {{ fill: {lesser} }}",
        f".grid {{ stroke: {grid} }} .event {{ stroke: {event} }} .best {{ stroke: {page} }}",
        *(f".line{i} {{ stroke: {hue} }} .fill{i} {{ fill: {hue} }}" for i, hue in enumerate(HUES[theme])),
    ]
    return "\n".join(rules) + "\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heading:
    """What is said of a run above its panels."""

    name: str
    hue: int | None  # the run's, where there are several
    best: str
    lines: Sequence[str]


def heading(history: History, name: str, hue: int | None) -> Heading:
    """What is said of a run; the hue is given where there are several."""
    happened = headline.events(history)
    lines = (headline.facts(history), *([f"× {happened}"] if happened else []))
    return Heading(name=name, hue=hue, best=headline.best(history), lines=lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the curves of a panel are drawn, in pixels from the left and from the top."""

    panel: Panel
    steps: Scale
    left: float
    top: float
    width: float
    height: float = HEIGHT

    @property
    def right(self) -> float:
        """Where its last step is."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Where its least value is."""
        return self.top + self.height

    def place(self, step: float, value: float) -> tuple[float, float]:
        """Of a point."""
        return (
            self.left + self.steps.share(step) * self.width,
            self.bottom - self.panel.scale.share(value) * self.height,
        )


class Picture:
    """A page of panels over the same steps.

    Args:
        headings: Of the runs.
        panels: In the order of reading.
        steps: The axis that they share.
        events: What happened at which step.
    """

    def __init__(
        self, headings: Sequence[Heading], panels: Sequence[Panel], steps: Scale, events: Sequence[tuple[int, str]]
    ) -> None:
        self._headings, self._events = headings, events
        self._top = MARGIN + LINE * sum(1 + len(heading.lines) for heading in headings) + GAP / 2
        width = (WIDTH - 2 * MARGIN - GAP * (COLUMNS - 1)) / COLUMNS
        row = TITLE + HEIGHT + BELOW + GAP
        self.frames = [
            Frame(
                panel=panel,
                steps=steps,
                left=MARGIN + NUMBERS + number % COLUMNS * (width + GAP),
                top=self._top + TITLE + number // COLUMNS * row,
                width=width - NUMBERS - LABELS,
            )
            for number, panel in enumerate(panels)
        ]
        self.height = self._top + row * math.ceil(len(panels) / COLUMNS)

    def svg(self) -> str:
        """The picture, for a light and for a dark screen."""
        shapes = [*self._heading(), *(shape for frame in self.frames for shape in self._panel(frame))]
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:.0f}" width="{WIDTH}" role="img">',
                f"<title>{escape(', '.join(heading.name for heading in self._headings))}</title>",
                f"<style>{style()}</style>",
                f'<rect class="page" width="{WIDTH}" height="{self.height:.0f}"/>',
                *shapes,
                "</svg>\n",
            ]
        )

    def _heading(self) -> Iterator[str]:
        y = MARGIN + LINE / 2
        for heading in self._headings:
            hue = "ink" if heading.hue is None else f"fill{heading.hue % N_HUES}"
            name = f'<tspan class="name {hue}">{escape(heading.name)}</tspan>'
            yield f'<text x="{MARGIN}" y="{y}" class="heading ink">{name}<tspan dx="12">{escape(heading.best)}</tspan></text>'
            for line in heading.lines:
                y += LINE
                yield _text(MARGIN, y, line, "heading lesser")
            y += LINE

    def _panel(self, frame: Frame) -> Iterator[str]:
        """The title, the axes, what happened, the curves and their names."""
        yield _text(frame.left - NUMBERS, frame.top - TITLE / 2, frame.panel.title, "title ink")
        for value in frame.panel.scale.ticks(5):
            _, y = frame.place(0, value)
            yield _line(frame.left, y, frame.right, y, "grid")
            yield _text(frame.left - 8, y + 4, tick(value), "lesser end")
        for step in frame.steps.ticks(5):
            x = frame.left + frame.steps.share(step) * frame.width
            yield _line(x, frame.bottom, x, frame.bottom + 4, "grid")
            yield _text(x, frame.bottom + 18, tick(step), "lesser middle")
        for step, event in self._events:
            x = frame.left + frame.steps.share(min(step, frame.steps.high)) * frame.width
            yield f"<g>{_line(x, frame.top, x, frame.bottom, 'event')}<title>{escape(event)}</title></g>"
        for curve in frame.panel.curves:
            yield from _curve(frame, curve)
        yield from _labels(frame)


def _curve(frame: Frame, curve: Curve) -> Iterator[str]:
    hue = curve.hue % N_HUES
    if not curve.dots and curve.smooth != curve.points:
        yield f'<polyline class="raw line{hue}" points="{_places(frame, thinned(curve.points))}"/>'
    yield f'<polyline class="line line{hue}" points="{_places(frame, thinned(curve.smooth))}"/>'
    if curve.dots or len(curve.points) == 1:
        for x, y in itertools.starmap(frame.place, curve.points):
            yield f'<circle class="fill{hue}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
    if curve.best:
        x, y = frame.place(*curve.best)
        yield f'<circle class="best fill{hue}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'


def _labels(frame: Frame) -> Iterator[str]:
    """The names of the curves and their last figures, at their ends."""
    named = [curve for curve in frame.panel.curves if curve.label]
    ends = [frame.place(*curve.smooth[-1]) for curve in named]
    apart = spread([y for _, y in ends], LABEL_HEIGHT)
    for curve, (x, _), y in zip(named, ends, apart, strict=True):
        name = curve.label if len(curve.label) <= LONGEST_NAME else curve.label[: LONGEST_NAME - 1] + "…"
        words = f"{name} {figure(curve.smooth[-1][1])}" if len(named) > 1 else figure(curve.smooth[-1][1])
        yield _text(x + 10, y + 4, words, f"fill{curve.hue % N_HUES}")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves places apart that are nearer to each other than a gap, each cluster about its middle."""
    clusters: list[list[int]] = []  # of neighbours, by their numbers, that touch when they are moved apart

    def first(cluster: list[int]) -> float:
        return sum(places[i] for i in cluster) / len(cluster) - gap * (len(cluster) - 1) / 2

    for number in sorted(range(len(places)), key=lambda i: places[i]):
        clusters.append([number])
        while len(clusters) > 1 and first(clusters[-1]) < first(clusters[-2]) + gap * len(clusters[-2]):
            clusters[-2] += clusters.pop()
    moved = {number: first(cluster) + gap * i for cluster in clusters for i, number in enumerate(cluster)}
    return [moved[number] for number in range(len(places))]


def thinned(found: Sequence[Point], at_most: int = MOST_POINTS) -> list[Point]:
    """So many points of a curve, the ends among them, and of each stretch the least and the greatest."""
    if len(found) <= at_most:
        return list(found)
    size = math.ceil((len(found) - 2) / ((at_most - 2) // 2))
    kept = [found[0]]
    for start in range(1, len(found) - 1, size):
        stretch = found[start : min(start + size, len(found) - 1)]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return [*kept, found[-1]]


def _places(frame: Frame, found: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in itertools.starmap(frame.place, found))


def _text(x: float, y: float, words: str, classes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, classes: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{classes}"/>'
