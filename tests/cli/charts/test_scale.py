import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heed.cli.charts.scale import Scale, figure, tick

VALUES = st.floats(min_value=-1e6, max_value=1e6)
POSITIVE = st.floats(min_value=1e-6, max_value=1e6)


@given(st.lists(POSITIVE, min_size=2), st.booleans())
def test_the_least_value_is_at_0_and_the_greatest_at_1(values: list[float], log: bool) -> None:
    assume(max(values) > min(values) * (1 + 1e-9))
    scale = Scale.of(values, log=log)
    assert (scale.share(min(values)), scale.share(max(values))) == (0, 1)
    assert all(0 <= scale.share(value) <= 1 for value in values)


def test_a_log_scale_has_factors_as_distances() -> None:
    scale = Scale.of([1, 10000], log=True)
    assert scale.share(100) == pytest.approx(0.5)
    assert not Scale.of([0, 1], log=True).log  # there is no logarithm of 0


def test_all_the_same_is_in_the_middle() -> None:
    assert Scale.of([3, 3]).share(3) == 0.5
    assert Scale.of([3, 3]).ticks(4) == [3]


@given(VALUES, st.floats(min_value=1e-4, max_value=1e6), st.integers(1, 12), st.booleans())
def test_ticks_are_within_the_scale_in_order_and_not_too_many(
    low: float, width: float, at_most: int, log: bool
) -> None:
    scale = Scale.of([low, low + width], log=log)
    found = scale.ticks(at_most)
    slack = 1e-8 * width
    assert all(scale.low - slack <= value <= scale.high + slack for value in found)
    assert found == sorted(set(found))
    assert len(found) <= at_most + 1


@given(VALUES, st.floats(min_value=1e-3, max_value=1e6))
def test_ticks_are_apart_by_a_round_number(low: float, width: float) -> None:
    found = Scale.of([low, low + width]).ticks(6)
    assert len(found) > 1
    distance = (found[-1] - found[0]) / (len(found) - 1)
    digits = distance / 10 ** math.floor(math.log10(distance) + 1e-6)
    assert min(abs(digits - round_one) for round_one in (1, 2, 5)) < 1e-3


def test_numbers_are_written_to_be_read() -> None:
    assert [figure(value) for value in (22.4, 3.2189, 0.0025164, 6285.01, 2.5e-5, 0)] == [
        "22.40",
        "3.219",
        "0.002516",
        "6,285",
        "2.5e-5",
        "0.000",
    ]
    assert [tick(value) for value in (0, 200, 1000, 20000, 3e6, 0.0005, 2e-5)] == [
        "0",
        "200",
        "1,000",
        "20k",
        "3M",
        "0.0005",
        "2e-5",
    ]
