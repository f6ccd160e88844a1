"""Panels drawn on a terminal, in colour if it has colours."""

from rich.text import Text

from heed.cli.charts.canvas import Canvas
from heed.cli.charts.drawing import Drawing, Panel
from heed.cli.charts.headline import Headline
from heed.cli.charts.scale import figure, tick

HUES = ("cyan", "yellow", "green", "magenta", "blue", "red")
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # letters of the runs, at the ends of their curves
TWO_COLUMNS = 72  # characters: a terminal this wide shows two panels side by side
GAP = 3  # between them
NARROWEST = 24  # a panel
BELOW = 2  # lines for the axis and its numbers
FEW = 2  # characters per validation; if they are denser, they are drawn as a line without dots
BEST, VALIDATION, EVENT = "◆", "•", "×"


def style(hue: int) -> str:
    """The colour of a curve."""
    return HUES[hue % len(HUES)]


def letter(hue: int) -> str:
    """The letter of a run in the panels."""
    return LETTERS[hue % len(LETTERS)]


def _heading(words: Headline) -> list[Text]:
    """The headline of a run above the panels."""
    title = Text()
    if words.hue is not None:
        title.append(f"{letter(words.hue)}  ", f"bold {style(words.hue)}")
    title.append(words.name, "bold").append(f"  {words.best}")
    lines = [title, Text(words.facts, "dim")]
    if words.events:
        lines.append(Text.assemble((EVENT, "red"), f" {words.events}"))
    return lines


class Chart:
    """Draws on a terminal; curves of several runs end with the letters of their runs."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._steps, self._lettered = drawing.steps, drawing.several

    def lines(self, width: int, height: int) -> list[Text]:
        """Headlines and panels, in lines of the given width and about as many as the given height, in characters.

        Two panels stand side by side if there is room, and no panel becomes too low to read.
        """
        words = [line for run in self._drawing.headlines for line in _heading(run)]
        return words + self._panels(width, height - len(words))

    def _panels(self, width: int, height: int) -> list[Text]:
        panels = self._drawing.panels
        columns = 2 if width >= TWO_COLUMNS else 1
        n_rows = -(-len(panels) // columns)
        width = max((width - GAP * (columns - 1)) // columns, NARROWEST)
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
            for value in scale.ticks((height + 1) // 2)
        }
        margin = max(len(label) for label in labels.values()) if labels else 0
        canvas = self._curves(panel, width - margin - 2, height)
        rows = [
            Text.assemble((f"{labels.get(row, ''):>{margin}} {'┤' if row in labels else '│'}", "dim"), line)
            for row, line in enumerate(canvas.rows())
        ]
        axis = [Text(" " * (margin + 1)).append_text(line) for line in self._axis(canvas.width, max(2, width // 7))]
        lines = [self._title(panel, width), *rows, *axis]
        for line in lines:
            line.truncate(width, overflow="ellipsis", pad=True)
        return lines

    def _title(self, panel: Panel, width: int) -> Text:
        """The name of the figure, and the last value of each curve."""
        title = Text(panel.title, "bold")
        for curve in panel.lines:
            name = letter(curve.hue) if self._lettered else curve.label
            title.append("  ")
            if len(panel.lines) > 1:
                title.append(f"{name} ", f"not bold {style(curve.hue)}")
            title.append(figure(curve.smooth[-1][1]), "not bold")
        if len(title) + 2 + len(panel.unit) <= width:
            title.append(f"  {panel.unit}", "not bold dim")
        return title

    def _curves(self, panel: Panel, width: int, height: int) -> Canvas:
        canvas, scale = Canvas(width, height), panel.scale
        for curve in panel.curves:
            places = [(self._steps.share(step), scale.share(value)) for step, value in curve.smooth]
            for line in [places] if curve.joined else [[place] for place in places]:
                canvas.line(line, style(curve.hue))
            if curve.dots and not self._lettered and len(places) <= width // FEW:
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
        """The axis with events, and its numbers."""
        line, numbers = ["─"] * width, [" "] * (width + 1)
        for step in self._steps.ticks(n_ticks):
            column, label = round(self._steps.share(step) * (width - 1)), tick(step)
            line[column] = "┬"
            start = min(max(column + 1 - len(label) // 2, 0), width + 1 - len(label))
            numbers[start : start + len(label)] = label
        ruler = Text("└" + "".join(line), "dim")
        for step, _ in self._drawing.events:
            place = 1 + round(self._steps.share(min(step, self._steps.high)) * (width - 1))
            ruler = Text.assemble(ruler[:place], (EVENT, "red"), ruler[place + 1 :])
        return ruler, Text("".join(numbers), "dim")
