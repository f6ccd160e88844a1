from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.transformer.data.batching import order as module
from heed.transformer.data.batching.order import Order, PairRanges, read
from heed.transformer.data.batching.pairs import Pairs

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=3)
WEIGHTS = st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.7])


@pytest.fixture(autouse=True, scope="module")
def several_blocks() -> Iterator[None]:
    """Blocks of several pairs, as large corpora have them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCKS", 4)
        yield


def pairs_in(windows: list[PairRanges]) -> Counter[tuple[int, int]]:
    return Counter((c, pair) for window in windows for c, start, stop in window for pair in range(start, stop))


@given(SIZES, st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_has_every_pair_once(sizes: list[int], window: int, epoch: int, seed: int) -> None:
    windows = Order(sizes, [1.0] * len(sizes), window).windows(epoch, seed)
    assert pairs_in(windows) == Counter((c, pair) for c, size in enumerate(sizes) for pair in range(size))


@given(SIZES, st.lists(WEIGHTS, min_size=3, max_size=3), st.integers(1, 50), st.integers(0, 5))
def test_a_weight_is_how_often_epochs_have_a_pair(
    sizes: list[int], weights: list[float], window: int, seed: int
) -> None:
    """In each epoch as many pairs as it says, and over all epochs each pair as often as the others, but for one."""
    order, found = Order(sizes, weights[: len(sizes)], window), Counter[tuple[int, int]]()
    for epoch in range(10):
        now = pairs_in(order.windows(epoch, seed))
        for c, size in enumerate(sizes):
            n_pairs = sum(times for (corpus, _), times in now.items() if corpus == c)
            assert abs(n_pairs - weights[c] * size) <= 1
        found += now
    for c, size in enumerate(sizes):
        times = [found[c, pair] for pair in range(size)]
        assert max(times) - min(times) <= 1
        assert sum(times) == pytest.approx(10 * weights[c] * size, abs=1)


@given(SIZES, st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_the_order_is_a_function_of_seed_and_epoch(sizes: list[int], window: int, epoch: int, seed: int) -> None:
    one, other = (Order(sizes, [1.5] * len(sizes), window).windows(epoch, seed) for _ in range(2))
    assert [list(each) for each in one] == [list(each) for each in other]


def test_half_of_the_pairs_are_other_ones_in_the_next_epoch() -> None:
    order = Order([100], [0.5])
    first, second, third = (set(pairs_in(order.windows(epoch, 1))) for epoch in range(3))
    assert len(first) == len(second) == 50
    assert not first & second
    assert first not in (second, third)


def test_windows_are_of_about_equal_size_and_others_in_each_epoch() -> None:
    order = Order([4000], [1.0], window=1000)
    windows = order.windows(0, 1)
    assert len(windows) == 4
    assert all(abs(len(window) - 1000) <= 250 for window in windows)
    assert pairs_in(windows[:1]) != pairs_in(order.windows(1, 1)[:1])
    assert pairs_in(windows[:1]) != pairs_in(order.windows(0, 2)[:1])


def test_windows_of_long_texts_are_small() -> None:
    length = module.WINDOW_TOKENS // 8
    corpus = Pairs(np.zeros(length * 20, dtype=np.uint16), np.arange(41) * (length // 2))
    assert Order.of([corpus]).window == 8


def test_ranges_are_read_one_after_another() -> None:
    one, other = Pairs.of([[1], [2, 2], []], [[], [3], [4]]), Pairs.of([[5]], [[6, 6]])
    found = read([one, other], PairRanges(np.array([1, 0]), np.array([0, 1]), np.array([1, 3])))
    assert found.ids.tolist() == [5, 6, 6, 2, 2, 3, 4]
    assert found.bounds.tolist() == [0, 1, 3, 5, 6, 6, 7]
