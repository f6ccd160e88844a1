from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.cli.charts.canvas import BITS, BLANK, Canvas
from heed.cli.charts.chart import BEST, Chart
from heed.cli.charts.drawing import Drawing, smoothed
from heed.models.errors import ModelError
from heed.models.runs.history import History

WriteRun = Callable[..., Path]
SHARES = st.floats(0, 1)


def dots(canvas: Canvas) -> set[tuple[int, int]]:
    """The columns and rows of a canvas's dots, from the left and from the top."""
    return {
        (2 * column + right, 4 * row + below)
        for row, text in enumerate(canvas.rows())
        for column, character in enumerate(text.plain)
        for below, bits in enumerate(BITS)
        for right, bit in enumerate(bits)
        if character != " " and (ord(character) - BLANK) & bit
    }


def test_the_ends_of_the_scales_are_the_corners() -> None:
    canvas = Canvas(5, 3)
    canvas.line([(0, 1)], "")
    canvas.line([(1, 0)], "")
    assert dots(canvas) == {(0, 0), (9, 11)}


@given(SHARES, SHARES, SHARES, SHARES)
def test_a_line_has_its_ends_and_no_gaps(x: float, y: float, to_x: float, to_y: float) -> None:
    canvas = Canvas(7, 4)
    canvas.line([(x, y), (to_x, to_y)], "")
    found = dots(canvas)
    ends = [Canvas(7, 4), Canvas(7, 4)]
    for end, place in zip(ends, [(x, y), (to_x, to_y)], strict=True):
        end.line([place], "")
        assert dots(end) <= found
    columns, rows = ({dot[axis] for dot in found} for axis in (0, 1))
    assert columns == set(range(min(columns), max(columns) + 1))
    assert rows == set(range(min(rows), max(rows) + 1))


def test_a_mark_stands_upon_the_line() -> None:
    canvas = Canvas(6, 5)
    canvas.line([(0, 0.3), (1, 0.3)], "")
    canvas.mark(0.5, 0.3, "x", "")
    (line,) = [text.plain for text in canvas.rows() if text.plain.strip()]
    assert line.count("x") == 1


@given(st.floats(1e-3, 1e3), st.integers(1, 300), st.booleans())
def test_smoothing_leaves_a_constant(value: float, n: int, log: bool) -> None:
    smooth = smoothed([(i, value) for i in range(n)], log=log)
    assert [each for _, each in smooth] == pytest.approx([value] * n)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=300), st.booleans())
def test_smoothing_stays_between_the_extremes_and_begins_with_the_beginning(values: list[float], log: bool) -> None:
    smooth = smoothed(list(enumerate(values)), log=log)
    assert [step for step, _ in smooth] == list(range(len(values)))
    assert smooth[0][1] == pytest.approx(values[0])
    assert all(min(values) * (1 - 1e-6) <= value <= max(values) * (1 + 1e-6) for _, value in smooth)


def test_smoothing_leaves_a_straight_line_but_for_its_end() -> None:
    line = [(i, 100.0 - i) for i in range(80)]  # two neighbours on either side
    assert [value for _, value in smoothed(line)][:-2] == pytest.approx([value for _, value in line][:-2])


def records(n: int, **changes: object) -> list[dict[str, object]]:
    """A run of n validations and two records of steps for each, in which all falls but BLEU."""
    made: list[dict[str, object]] = []
    for number in range(1, 2 * n + 1):
        figures = {"loss": 9.0 / number, "perplexity": 90.0 / number, "learning_rate": 0.1 / number}
        made.append({"event": "step", "step": 50 * number, **figures})
        if number % 2 == 0:
            made.append({"event": "validation", "step": 50 * number, "bleu": float(number), **figures, **changes})
    return made


def drawing(*runs: Path) -> Drawing:
    return Drawing.of([History.read(run) for run in runs])


def titles(found: Drawing) -> list[str]:
    return [panel.title for panel in found.panels]


def test_a_run_has_the_panels_that_it_has_figures_for(write_run: WriteRun) -> None:
    translation = write_run("translation", records(3))
    text = write_run("text", records(3, bleu=None, bits_per_byte=2.0), "decoder")
    assert titles(drawing(translation)) == ["Training loss", "Perplexity", "BLEU", "Learning rate"]
    assert titles(drawing(text)) == ["Training loss", "Perplexity", "Bits a byte", "Learning rate"]
    assert titles(drawing(translation, text)) == [*titles(drawing(translation))[:3], *titles(drawing(text))[2:]]
    assert titles(drawing(write_run("young", records(1)[:1]))) == ["Training loss", "Perplexity", "Learning rate"]


def test_a_run_without_figures_is_refused(write_run: WriteRun) -> None:
    with pytest.raises(ModelError, match="no figures yet"):
        drawing(write_run("run", records(3)), write_run("empty", [{"event": "start", "step": 0}]))


def test_each_run_has_its_colour_and_its_name(write_run: WriteRun) -> None:
    found = drawing(write_run("a/one", records(2)), write_run("a/two", records(3)))
    for panel in found.panels:
        assert [(curve.hue, curve.label) for curve in panel.curves] == [(0, "one"), (1, "two")]
    same = drawing(write_run("x/run", records(2)), write_run("y/run", records(3)))
    assert [run.name[-5:] for run in same.headlines] == ["x/run", "y/run"]


def chart(found: Drawing, width: int = 80, height: int = 23) -> Sequence[str]:
    return [line.plain for line in Chart(found).lines(width, height)]


@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 39), (60, 33), (200, 60)])
def test_a_chart_fits_the_terminal(write_run: WriteRun, width: int, height: int) -> None:
    one, two = write_run("one", records(12)), write_run("two", records(7))
    for found in (drawing(one), drawing(one, two)):
        lines = chart(found, width, height)
        assert all(len(line) <= width for line in lines)
        assert len(lines) <= height


def test_a_terminal_too_small_has_a_drawing_too(write_run: WriteRun) -> None:
    lines = chart(drawing(write_run("run", records(3))), 1, 1)
    for title in ("Training loss", "Perplexity", "BLEU", "Learning rate"):
        assert any(line.startswith(title) for line in lines)


def test_the_best_and_the_events_are_marked(write_run: WriteRun) -> None:
    happened = [{"event": "skipped", "step": 100}, *({"event": "rolled_back", "step": 10 * n} for n in range(9))]
    words = "\n".join(chart(drawing(write_run("run", [*records(4), *happened]))))
    assert words.count(BEST) == 2  # in its BLEU and in its perplexity
    assert "best: step 400, BLEU 8.000, perplexity 11.25" in words
    assert "× rolled back 9 times, last at 80; skipped at 100" in words


def test_one_record_is_drawn(write_run: WriteRun) -> None:
    """A run that has just begun."""
    lines = chart(drawing(write_run("run", [{"event": "step", "step": 50, "loss": 9.0, "learning_rate": 0.1}])))
    assert any("Training loss  9.000" in line for line in lines)
    assert "not validated yet" in lines[0]
