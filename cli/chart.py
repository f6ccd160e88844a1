"""Panels drawn on a terminal, in colours where it has them."""

from collections.abc import Sequence

from rich.text import Text

from heed.cli import headline
from heed.cli.canvas import Canvas
from heed.cli.panels import Panel
from heed.cli.scale import Scale, figure, tick
from heed.models.history import History

HUES = ("cyan", "yellow", "green", "magenta", "blue", "red")
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # of runs, at the ends of their curves
TWO_COLUMNS = 72  # characters of a terminal that has two panels side by side
GAP = 3  # between them
BELOW = 2  # lines of the axis and its numbers
BEST, VALIDATION, EVENT = "◆", "•", "×"


def style(hue: int) -> str:
    """The colour of a curve."""
    return HUES[hue % len(HUES)]


def letter(hue: int) -> str:
    """How a run is called in its panels."""
    return LETTERS[hue % len(LETTERS)]


def heading(history: History, name: str, hue: int | None) -> list[Text]:
    """What is said of a run above its panels.

    Args:
        hue: The run's, where there are several.
    """
    title = Text()
    if hue is not None:
        title.append(f"{letter(hue)}  ", f"bold {style(hue)}")
    title.append(name, "bold").append(f"  {headline.best(history)}")
    lines = [title, Text(headline.facts(history), "dim")]
    if happened := headline.events(history):
        lines.append(Text.assemble((EVENT, "red"), f" {happened}"))
    return lines


class Chart:
    """Draws panels over the same steps.

    Args:
        steps: The axis that they share.
        events: The steps at which something happened.
        lettered: Whether curves end in the letters of their runs, for there are several.
    """

    def __init__(self, steps: Scale, events: Sequence[int], *, lettered: bool) -> None:
        self._steps, self._events, self._lettered = steps, events, lettered

    def draw(self, panels: Sequence[Panel], width: int, height: int) -> list[Text]:
        """All panels, side by side where there is room for two."""
        columns = 2 if width >= TWO_COLUMNS else 1
        n_rows = -(-len(panels) // columns)
        width = (width - GAP * (columns - 1)) // columns
        height = min(max(height // n_rows - 1 - BELOW, 4), 16)
        blocks = [self._panel(panel, width, height) for panel in panels]
        lines = []
        for first in range(0, len(blocks), columns):
            for parts in zip(*blocks[first : first + columns], strict=True):
                lines.append(Text(" " * GAP).join(parts))
                lines[-1].rstrip()
        return lines

    def _panel(self, panel: Panel, width: int, height: int) -> list[Text]:
        """The title, the curves beside their numbers, and the axis."""
        scale = panel.scale
        labels = {
            round((1 - scale.share(value)) * (4 * height - 1)) // 4: tick(value)
            for value in scale.ticks(max(2, height // 2))
        }
        margin = max(len(label) for label in labels.values()) if labels else 0
        canvas = self._curves(panel, width - margin - 2, height)
        rows = [
            Text(f"{labels.get(row, ''):>{margin}} {'┤' if row in labels else '│'}", "dim").append_text(line)
            for row, line in enumerate(canvas.rows())
        ]
        axis = [Text(" " * (margin + 1)).append_text(line) for line in self._axis(canvas.width, max(2, width // 7))]
        lines = [self._title(panel), *rows, *axis]
        for line in lines:
            line.truncate(width, overflow="ellipsis", pad=True)
        return lines

    def _title(self, panel: Panel) -> Text:
        """The figure, and the last value of each curve."""
        title = Text(panel.title, "bold")
        for curve in panel.lines:
            name = letter(curve.hue) if self._lettered else curve.label
            title.append("  ")
            if len(panel.lines) > 1:
                title.append(f"{name} ", f"not bold {style(curve.hue)}")
            title.append(figure(curve.smooth[-1][1]), "not bold")
        return title

    def _curves(self, panel: Panel, width: int, height: int) -> Canvas:
        canvas, scale = Canvas(width, height), panel.scale
        for curve in panel.curves:
            places = [(self._steps.share(step), scale.share(value)) for step, value in curve.smooth]
            canvas.line(places, style(curve.hue))
            if curve.dots and not self._lettered:
                for place in places:
                    canvas.mark(*place, VALIDATION, style(curve.hue))
            if self._lettered and curve.label:
                canvas.mark(*places[-1], letter(curve.hue), f"bold {style(curve.hue)}")
        for curve in panel.curves:
            if curve.best:
                step, value = curve.best
                canvas.mark(self._steps.share(step), scale.share(value), BEST, f"bold {style(curve.hue)}")
        return canvas

    def _axis(self, width: int, n_ticks: int) -> tuple[Text, Text]:
        """The line with its events, and its numbers."""
        line, numbers = ["─"] * width, [" "] * (width + 1)
        for step in self._steps.ticks(n_ticks):
            column, label = round(self._steps.share(step) * (width - 1)), tick(step)
            line[column] = "┬"
            start = min(max(column + 1 - len(label) // 2, 0), width + 1 - len(label))
            numbers[start : start + len(label)] = label
        ruler = Text("└" + "".join(line), "dim")
        for step in self._events:
            place = 1 + round(self._steps.share(min(step, self._steps.high)) * (width - 1))
            ruler = Text.assemble(ruler[:place], (EVENT, "red"), ruler[place + 1 :])
        return ruler, Text("".join(numbers), "dim")
