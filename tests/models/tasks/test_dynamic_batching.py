import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.bundle.catalog import DEFAULT
from heed.models.tasks.dynamic_batching import CHARACTERS, DynamicBatcher, Unfinished
from heed.models.tasks.translation.translation import Translation
from heed.models.tasks.translation.translator import Translator

PATIENCE = 30  # seconds


class Work:
    """Repeats lines, as often as the settings say; waits for leave before each batch, if asked to."""

    def __init__(self, *, waits: bool = False) -> None:
        self.batches: list[list[str]] = []
        self.leave = threading.Semaphore(0)
        self.waits = waits

    def __call__(self, lines: list[str], times: int) -> list[str]:
        self.batches.append(lines)
        if self.waits:
            assert self.leave.acquire(timeout=PATIENCE)
        if "bad" in lines:
            raise ValueError("bad")
        return [line * times for line in lines]


def until_begun(work: Work, n_batches: int) -> None:
    end = time.monotonic() + PATIENCE
    while len(work.batches) < n_batches:
        assert time.monotonic() < end
        time.sleep(0.001)


requests = st.lists(st.tuples(st.lists(st.text("ab", max_size=3), max_size=9), st.integers(1, 2)), max_size=12)


@given(requests=requests, threads=st.integers(1, 3), batch_size=st.integers(1, 5))
def test_every_request_gets_the_results_of_its_lines_in_order(
    requests: list[tuple[list[str], int]], threads: int, batch_size: int
) -> None:
    work = Work()
    with DynamicBatcher([work] * threads, batch_size=batch_size) as batcher:
        futures = [batcher.submit(lines, times) for lines, times in requests]
        found = [future.result(PATIENCE) for future in futures]
    assert found == [[line * times for line in lines] for lines, times in requests]
    assert all(0 < len(batch) <= batch_size for batch in work.batches)
    assert batcher.n_waiting == 0


def test_lines_that_wait_share_the_next_batch_if_their_settings_are_equal() -> None:
    work = Work(waits=True)
    with DynamicBatcher([work]) as batcher:
        futures = [batcher.submit(["first"], 1)]
        until_begun(work, 1)
        futures += [batcher.submit([line], times) for line, times in (("a", 1), ("b", 2), ("c", 1))]
        assert batcher.n_waiting == 3
        work.leave.release(3)
        assert [future.result(PATIENCE) for future in futures] == [["first"], ["a"], ["bb"], ["c"]]
    assert work.batches == [["first"], ["a", "c"], ["b"]]


def test_a_long_request_does_not_hold_up_a_short_one() -> None:
    work = Work(waits=True)
    with DynamicBatcher([work], batch_size=4) as batcher:
        long = batcher.submit(["long"] * 40, 1)
        until_begun(work, 1)
        short = batcher.submit(["short"], 1)
        work.leave.release(2)
        assert short.result(PATIENCE) == ["short"]
        assert not long.done()
        work.leave.release(40)
        assert long.result(PATIENCE) == ["long"] * 40


def test_threads_share_the_lines_evenly() -> None:
    """A thread that took all of seven lines left the other one with batches of the single line that came first."""
    work = Work(waits=True)
    with DynamicBatcher([work] * 2) as batcher:
        futures = [batcher.submit(["first"], 1)]
        until_begun(work, 1)
        futures.append(batcher.submit(["a"] * 7, 1))
        until_begun(work, 2)
        assert len(work.batches[1]) == 4
        work.leave.release(9)
        wait(futures, PATIENCE)


def test_a_batch_is_bounded_in_characters_too() -> None:
    work = Work()
    with DynamicBatcher([work]) as batcher:
        batcher.submit(["x" * (CHARACTERS + 1), "x" * CHARACTERS, "x", "x"], 1).result(PATIENCE)
    assert [sum(map(len, batch)) for batch in work.batches] == [CHARACTERS + 1, CHARACTERS, 2]


def test_a_cancelled_request_leaves_the_queue() -> None:
    work = Work(waits=True)
    with DynamicBatcher([work], batch_size=2) as batcher:
        first = batcher.submit(["a"] * 9, 1)
        until_begun(work, 1)
        second = batcher.submit(["b"], 1)
        assert first.cancel()
        assert batcher.n_waiting == 1
        work.leave.release(2)
        assert second.result(PATIENCE) == ["b"]
        with pytest.raises(CancelledError):
            first.result(PATIENCE)
    assert work.batches == [["a", "a"], ["b"]]


def test_a_line_that_fails_fails_its_own_request_alone() -> None:
    work = Work(waits=True)
    with DynamicBatcher([work]) as batcher:
        futures = [batcher.submit(["first"], 1)]
        until_begun(work, 1)
        futures += [batcher.submit(lines, 1) for lines in (["good"], ["bad", "also"], ["fine"])]
        work.leave.release(9)
        wait(futures, PATIENCE)
    assert [future.exception() is None for future in futures] == [True, True, False, True]
    assert futures[3].result() == ["fine"]


def test_the_next_batch_begins_with_unfinished_lines() -> None:
    batches: list[list[str]] = []
    leave = threading.Semaphore(0)

    def work(items: list[str], _: int) -> list[str | Unfinished]:
        batches.append(items)
        assert leave.acquire(timeout=PATIENCE)
        return [Unfinished(f"{item}+") if item.startswith("long") and item.count("+") < 2 else item for item in items]

    with DynamicBatcher[int, str]([work], batch_size=2) as batcher:
        futures = [batcher.submit(["long"], 1)]
        end = time.monotonic() + PATIENCE
        while not batches and time.monotonic() < end:
            time.sleep(0.001)
        futures.append(batcher.submit(["a", "b", "c"], 1))
        leave.release(9)
        assert [future.result(PATIENCE) for future in futures] == [["long++"], ["a", "b", "c"]]
    assert batches[:3] == [["long"], ["long+", "c"], ["long++", "b"]]
    assert batcher.n_waiting == 0


def test_what_a_work_has_begun_it_goes_on_with() -> None:
    """A process knows only the lines that it has begun itself."""
    begun = [set[str](), set[str]()]

    def working(number: int) -> Callable[[list[str], int], list[str | Unfinished]]:
        def work(items: list[str], _: int) -> list[str | Unfinished]:
            assert {item for item in items if "+" in item} <= begun[number]
            again = {item: f"{item}+" for item in items if item.count("+") < 2}
            begun[number].update(again.values())
            return [Unfinished(again[item]) if item in again else item for item in items]

        return work

    with DynamicBatcher[int, str]([working(0), working(1)], batch_size=3) as batcher:
        futures = [batcher.submit([f"{n}.{i}" for i in range(3)], 1) for n in range(40)]
        found = [future.result(PATIENCE) for future in futures]
    assert found == [[f"{n}.{i}++" for i in range(3)] for n in range(40)]


def test_lines_of_a_batch_that_fails_are_begun_again_alone() -> None:
    batches: list[list[str]] = []

    def work(items: list[str], _: int) -> list[str | Unfinished]:
        batches.append(items)
        if "bad" in items or "a+" in items:
            raise ValueError("bad")
        return [Unfinished("a+") if item == "a" and len(batches) == 1 else item for item in items]

    with DynamicBatcher[int, str]([work]) as batcher:
        future = batcher.submit(["a"], 1)
        assert future.exception(PATIENCE) is not None  # alone, it fails for good
        batches.clear()
        futures = [batcher.submit([line], 1) for line in ("bad", "a", "fine")]
        wait(futures, PATIENCE)
    assert [future.exception() is None for future in futures] == [False, True, True]


def test_an_unfinished_line_of_a_cancelled_request_is_forgotten() -> None:
    begun, leave = threading.Event(), threading.Event()

    def work(items: list[str], _: int) -> list[str | Unfinished]:
        begun.set()
        assert leave.wait(PATIENCE)
        return [Unfinished(item) for item in items]

    with DynamicBatcher[int, str]([work]) as batcher:
        future = batcher.submit(["a"], 1)
        assert begun.wait(PATIENCE)
        assert future.cancel()
        leave.set()
    assert batcher.n_waiting == 0


def test_the_end_completes_what_was_asked_for_and_takes_no_more() -> None:
    batcher = DynamicBatcher([Work()], batch_size=1)
    future = batcher.submit(["a"] * 50, 1)
    batcher.close()
    assert future.done()
    with pytest.raises(RuntimeError):
        batcher.submit(["a"], 1)


def test_translations_do_not_depend_on_what_shares_their_batch() -> None:
    lines = ["Good morning!", "I am hungry. Where is the station?", "The train leaves at 7:45.", "", "Tom!"]
    with Translator.load(DEFAULT, threads=2) as translator:
        alone = [translator.translate([line])[0].text for line in lines]

        def work(lines: list[str], n: int) -> list[list[Translation]]:
            return translator.n_best(lines, n=n)

        with DynamicBatcher([work] * 2) as batcher:
            futures = [batcher.submit([lines[number % 5]], 1) for number in range(40)]
            found = [future.result(PATIENCE)[0][0].text for future in futures]
    assert found == alone * 8
