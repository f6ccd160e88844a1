"""A self-contained page of HTML: the picture, the figures under the pointer, and a table of validations."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from string import Template

from heed.cli.charts.drawing import Drawing
from heed.cli.charts.headline import FIGURES
from heed.cli.charts.picture import N_HUES, Frame, Picture, thinned
from heed.cli.charts.scale import figure
from heed.models.runs.history import VARIANTS, History, is_number, variant_of

COLUMNS = {"minutes": "minutes", "loss": "loss"} | FIGURES  # headings of the table, by the figure in the records


def page(picture: Picture, histories: Sequence[History]) -> str:
    """The page for the runs of a picture."""
    template = Template(resources.files("heed.cli.charts").joinpath("page.html").read_text("utf-8"))
    frames = json.dumps([_frame(frame, several=picture.drawing.several) for frame in picture.frames])
    return template.substitute(
        title=escape(picture.title),
        picture=picture.svg(),
        rows="\n".join(_rows(histories, picture.drawing)),
        frames=frames.replace("<", "\\u003c"),  # a name must not end the surrounding script
    )


def _frame(frame: Frame, *, several: bool) -> dict[str, object]:
    """Data for finding the figures under the pointer: the position of a panel and its curves."""
    scale = frame.panel.scale
    return {
        "left": frame.left,
        "top": frame.top,
        "width": frame.width,
        "height": frame.height,
        "steps": frame.steps.high,
        "low": scale.low,
        "high": scale.high,
        "log": scale.log,
        "curves": [
            {
                "label": ""
                if several or len(frame.panel.lines) == 1
                else f"{curve.label} ",  # runs are distinguished by their colours
                "hue": curve.hue % N_HUES,
                "points": thinned(curve.smooth),
            }
            for curve in frame.panel.lines
        ],
    }


def _rows(histories: Sequence[History], drawing: Drawing) -> Iterator[str]:
    """The rows of the table of validations, with the header."""
    several = drawing.several
    validations = [
        (run.name, record)
        for run, history in zip(drawing.headlines, histories, strict=True)
        for record in history.validations
    ]
    columns = [key for key in COLUMNS if any(is_number(record.get(key)) for _, record in validations)]
    heads = [*(["run"] if several else []), "step", *(COLUMNS[key] for key in columns)]
    yield _row("th", heads)
    for name, record in validations:
        variant = variant_of(record)
        step = f"{record['step']:,}" + (f" {VARIANTS[variant]}" if variant else "")
        figures = [figure(record[key]) if is_number(record.get(key)) else "" for key in columns]
        yield _row("td", [*([name] if several else []), step, *figures])


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
