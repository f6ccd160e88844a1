import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.cli.charts.drawing import Drawing
from heed.cli.charts.page import page
from heed.cli.charts.picture import Picture, png, spread, thinned
from heed.models.errors import HeedError
from heed.models.runs.history import History

WriteRun = Callable[..., Path]
SVG = "{http://www.w3.org/2000/svg}"
BLEUS = [3.0, 20.0, 11.0, 18.0]


@pytest.fixture
def history(write_run: WriteRun) -> History:
    """Of a run whose BLEU is best at the second of four validations, and whose name is no markup."""
    records: list[dict[str, object]] = []
    for number, bleu in enumerate(BLEUS, start=1):
        figures = {"loss": 8.0 / number, "perplexity": 80.0 / number}
        records.append({"event": "step", "step": 50 * number, "learning_rate": 0.1, **figures})
        records.append({"event": "validation", "step": 50 * number, "bleu": bleu, **figures})
    records.append({"event": "rolled_back", "step": 100})
    return History.read(write_run("<run> & run", records))


@pytest.fixture
def picture(history: History) -> Picture:
    return Picture(Drawing.of([history]))


def shapes(picture: Picture, tag: str, of_class: str) -> list[ElementTree.Element]:
    found = ElementTree.fromstring(picture.svg()).iter(SVG + tag)
    return [shape for shape in found if of_class in shape.get("class", "").split()]


def test_curves_reach_from_the_bottom_of_their_panels_to_the_top(picture: Picture) -> None:
    lines = {shape.get("points", "") for shape in shapes(picture, "polyline", "line")}
    bleu = next(frame for frame in picture.frames if frame.panel.title == "BLEU")
    places = [bleu.place(50 * number, value) for number, value in enumerate(BLEUS, start=1)]
    assert " ".join(f"{x:.1f},{y:.1f}" for x, y in places) in lines
    assert places[0][1] == pytest.approx(bleu.bottom)
    assert places[1][1] == pytest.approx(bleu.top)
    assert places[3][0] == pytest.approx(bleu.right)


def test_the_best_checkpoint_is_marked_where_it_is(picture: Picture) -> None:
    marks = {(mark.get("cx"), mark.get("cy")) for mark in shapes(picture, "circle", "best")}
    best = {"Perplexity": 40.0, "BLEU": 20.0}
    places = [frame.place(100, best[frame.panel.title]) for frame in picture.frames if frame.panel.title in best]
    assert marks == {(f"{x:.1f}", f"{y:.1f}") for x, y in places}


def test_what_happened_is_a_line_through_each_panel(picture: Picture) -> None:
    lines = shapes(picture, "line", "event")
    assert [float(line.get("x1", 0)) for line in lines] == [
        pytest.approx(frame.place(100, frame.panel.scale.low)[0], abs=0.05) for frame in picture.frames
    ]


def test_panels_share_the_axis_and_do_not_overlap(picture: Picture) -> None:
    first, second, third, fourth = picture.frames
    assert len({frame.steps for frame in picture.frames}) == 1
    assert (first.left, second.left) == (third.left, fourth.left)
    assert first.right < second.left
    assert first.bottom < third.top


def test_words_are_no_markup(picture: Picture) -> None:
    words = [text for element in ElementTree.fromstring(picture.svg()).iter() for text in [element.text] if text]
    assert "<run> & run" in words


class Reader(HTMLParser):
    """Whether elements are closed as they were opened, the cells of tables, and what asks for something else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.references: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def test_the_page_is_whole_and_needs_nothing_else(history: History, picture: Picture) -> None:
    html = page(picture, [history])
    reader = Reader(html)
    assert reader.open == reader.references == []
    assert set(re.findall(r"\w+://[\w./]+", html)) == {"http://www.w3.org/2000/svg"}  # a name, which is not fetched


def test_the_page_has_every_validation(history: History, picture: Picture) -> None:
    reader = Reader(page(picture, [history]))
    rows = [reader.cells[i : i + 4] for i in range(0, len(reader.cells), 4)]
    assert rows == [
        [f"{50 * number}", f"{8 / number:#.4g}", f"{bleu:#.4g}", f"{80 / number:#.4g}"]
        for number, bleu in enumerate(BLEUS, start=1)
    ]
    frames = json.loads(reader.scripts[0])
    assert [curve["points"] for curve in frames[2]["curves"]] == [
        [[50 * number, bleu] for number, bleu in enumerate(BLEUS, start=1)]
    ]
    assert [(frame["left"], frame["top"]) for frame in frames] == [(frame.left, frame.top) for frame in picture.frames]


def test_several_runs_are_told_apart_in_the_page(history: History) -> None:
    reader = Reader(page(Picture(Drawing.of([history, history])), [history, history]))
    assert reader.cells[::5] == [str(history.path)] * 2 * len(BLEUS)


def test_a_png_is_a_picture_of_twice_the_size(picture: Picture) -> None:
    data = png(picture.svg())
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    size = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    assert size == (2 * 1080, 2 * round(picture.height))


def test_a_png_without_a_font_is_refused(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    import resvg_py

    draw = resvg_py.svg_to_bytes
    monkeypatch.setattr(
        resvg_py, "svg_to_bytes", lambda svg_string, **options: draw(svg_string, skip_system_fonts=True, **options)
    )
    with pytest.raises(HeedError, match="a PNG needs a font"):
        png(picture.svg())


@given(st.lists(st.floats(0, 200), max_size=8))
def test_labels_are_moved_apart_and_keep_their_order(places: list[float]) -> None:
    moved = spread(places, 14)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for one, other in itertools.pairwise(order):
        assert moved[other] - moved[one] >= 14 - 1e-6
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)


def test_labels_that_are_apart_stay() -> None:
    assert spread([50, 10, 30], 14) == [50, 10, 30]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=400), st.integers(4, 50))
def test_a_thinned_curve_keeps_its_ends_and_extremes(values: list[float], at_most: int) -> None:
    found = list(enumerate(values))
    kept = thinned(found, at_most)
    assert len(kept) <= at_most or len(kept) == len(found)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(found)
    assert {found[0], found[-1]} <= set(kept)
    assert {value for _, value in kept} >= {min(values), max(values)}
