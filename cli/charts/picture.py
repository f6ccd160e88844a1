"""Panels drawn as SVG, which is itself a picture, becomes a PNG, and stands in a page of HTML."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from html import escape

from heed.cli.charts.drawing import Curve, Drawing, Panel
from heed.cli.charts.scale import Scale, figure, tick
from heed.models.errors import HeedError
from heed.models.runs.history import Point

WIDTH, MARGIN, COLUMNS = 1080, 28, 2  # of the picture, in pixels; panels side by side
GAP = 30  # between panels
HEIGHT = 190  # of what curves are drawn on
TITLE, NUMBERS, LABELS, BELOW = 30, 46, 116, 26  # room above it, left, right and below, for words and numbers
LINE, BETWEEN = 21, 9  # of a heading; below it
NEAR = 30  # to the end of a panel, where labels stand beside it
LABEL_HEIGHT = 14  # between two labels of curves
LONGEST_NAME = 12  # characters of a label, its figure aside
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
# What makes a PNG knows no "sans-serif" of the system's: one of these must be there by its name.
FAMILIES = """system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", "Liberation Sans", "Noto Sans", FreeSans,
  Ubuntu, Cantarell, sans-serif"""
SHAPES = """
text { font-size: 12px; font-family: %s }
.name { font-size: 17px; font-weight: 600 } .title { font-size: 13px; font-weight: 600 } .heading { font-size: 13px }
.unit { font-size: 12px; font-weight: 400 }
.end { text-anchor: end } .middle { text-anchor: middle }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.raw { fill: none; stroke-width: 1; opacity: 0.35 } .best { stroke-width: 2 }
.label { stroke-width: 4; paint-order: stroke; stroke-linejoin: round }
.event { stroke-dasharray: 3 3 }
""".replace("%s", FAMILIES)


def style() -> str:
    """The rules of CSS, for a light and for a dark screen; what knows no screens, as a PNG, is light."""
    return f"{SHAPES}{_colors('light')}@media (prefers-color-scheme: dark) {{\n{_colors('dark')}}}\n"


def _colors(theme: str) -> str:
    page, ink, lesser, grid, event = THEMES[theme]
    rules = [
        f".page {{ fill: {page} }} .ink {{ fill: {ink} }} .lesser {{ fill: {lesser} }}",
        f".grid {{ stroke: {grid} }} .event {{ stroke: {event} }} .best, .label {{ stroke: {page} }}",
        *(f".line{i} {{ stroke: {hue} }} .fill{i} {{ fill: {hue} }}" for i, hue in enumerate(HUES[theme])),
    ]
    return "\n".join(rules) + "\n"


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
    """Draws in pixels, and knows where what is."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        top = MARGIN + sum(LINE * (3 if run.events else 2) + BETWEEN for run in drawing.headlines)
        width = (WIDTH - 2 * MARGIN - GAP * (COLUMNS - 1)) / COLUMNS
        row = TITLE + HEIGHT + BELOW + GAP
        self.frames = [
            Frame(
                panel=panel,
                steps=drawing.steps,
                left=MARGIN + NUMBERS + number % COLUMNS * (width + GAP),
                top=top + TITLE + number // COLUMNS * row,
                width=width - NUMBERS - LABELS,
            )
            for number, panel in enumerate(drawing.panels)
        ]
        self.height = top + row * math.ceil(len(drawing.panels) / COLUMNS)

    def svg(self) -> str:
        """The picture, for a light and for a dark screen."""
        shapes = [*self._headings(), *(shape for frame in self.frames for shape in self._panel(frame))]
        size = f'width="{WIDTH}" height="{self.height:.0f}"'
        lines = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:.0f}" {size} role="img">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{style()}</style>",
            f'<rect class="page" {size}/>',
            *shapes,
            "</svg>\n",
        )
        return "\n".join(lines)

    @property
    def title(self) -> str:
        """The names of the runs."""
        return ", ".join(run.name for run in self.drawing.headlines)

    def _headings(self) -> Iterator[str]:
        y = MARGIN + LINE / 2
        for run in self.drawing.headlines:
            hue = "ink" if run.hue is None else f"fill{run.hue % N_HUES}"
            name = f'<tspan class="name {hue}">{escape(run.name)}</tspan>'
            best = f'<tspan dx="12">{escape(run.best)}</tspan>'
            yield f'<text x="{MARGIN}" y="{y}" class="heading ink">{name}{best}</text>'
            for line in (run.facts, *([f"× {run.events}"] if run.events else [])):
                y += LINE
                yield _text(MARGIN, y, line, "heading lesser")
            y += LINE + BETWEEN

    def _panel(self, frame: Frame) -> Iterator[str]:
        """The title, the axes, what happened, the curves and their names."""
        unit = f'<tspan class="unit lesser" dx="8">{frame.panel.unit}</tspan>'
        x, y = frame.left - NUMBERS, frame.top - TITLE / 2
        yield f'<text x="{x:.1f}" y="{y:.1f}" class="title ink">{frame.panel.title}{unit}</text>'
        for value in frame.panel.scale.ticks(5):
            _, y = frame.place(0, value)
            yield _line(frame.left, y, frame.right, y, "grid")
            yield _text(frame.left - 8, y + 4, tick(value), "lesser end")
        yield _line(frame.left, frame.bottom, frame.right, frame.bottom, "grid")
        for step in frame.steps.ticks(5):
            x = frame.left + frame.steps.share(step) * frame.width
            yield _line(x, frame.bottom, x, frame.bottom + 4, "grid")
            yield _text(x, frame.bottom + 18, tick(step), "lesser middle")
        for step, event in self.drawing.events:
            x = frame.left + frame.steps.share(min(step, frame.steps.high)) * frame.width
            yield f"<g>{_line(x, frame.top, x, frame.bottom, 'event')}<title>{escape(event)}</title></g>"
        for curve in frame.panel.curves:
            yield from _curve(frame, curve)
        yield from _labels(frame)


def png(svg: str) -> bytes:
    """A picture of an SVG, in two dots a pixel.

    Raises:
        HeedError: Words cannot be drawn, for there is no font.
    """
    import resvg_py

    probe = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><style>{SHAPES}</style>%s</svg>'
    with_text, without = (resvg_py.svg_to_bytes(svg_string=probe % x) for x in ('<text y="9">x</text>', ""))
    if with_text == without:
        raise HeedError(
            "a PNG needs a font, and there is none on this machine; install one (fonts-dejavu-core), or write .html"
        )
    return resvg_py.svg_to_bytes(svg_string=svg, zoom=2)


def _curve(frame: Frame, curve: Curve) -> Iterator[str]:
    hue = curve.hue % N_HUES
    if not curve.dots and curve.smooth != curve.points:
        yield f'<polyline class="raw line{hue}" points="{_places(frame, thinned(curve.points))}"/>'
    if curve.joined:
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
        name = curve.label
        if len(name) > LONGEST_NAME:  # names of runs often differ at their ends
            name = f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 + 1 :]}"
        words = f"{name} {figure(curve.smooth[-1][1])}" if len(named) > 1 else figure(curve.smooth[-1][1])
        left = frame.right if x > frame.right - NEAR else x  # those at the end stand in a column
        yield _text(left + 10, y + 4, words, f"label fill{curve.hue % N_HUES}")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves places apart that are nearer to each other than a gap, each cluster about its middle."""
    clusters: list[list[int]] = []  # of neighbours, by their numbers, that touch when they are moved apart

    def first(cluster: list[int]) -> float:
        return sum(places[i] for i in cluster) / len(cluster) - gap * (len(cluster) - 1) / 2

    for number in sorted(range(len(places)), key=lambda i: places[i]):
        clusters.append([number])
        while len(clusters) > 1 and first(clusters[-1]) < first(clusters[-2]) + gap * len(clusters[-2]):
            last = clusters.pop()
            clusters[-1] += last
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
