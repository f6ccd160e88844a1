import threading
from collections.abc import Iterator

import pytest

from heed.transformer.data.batching.prefetch import ahead


def test_things_come_in_their_order() -> None:
    for n_things in (0, 1, 100):
        assert list(ahead(iter(range(n_things)))) == list(range(n_things))


def test_an_error_comes_behind_the_things_before_it() -> None:
    def things() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("broken")

    found = ahead(things())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_some_are_made_before_they_are_asked_for() -> None:
    made, enough = list[int](), threading.Event()

    def things() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    found = ahead(things(), ready=3)
    assert next(found) == 0
    assert enough.wait(60)
    assert len(made) <= 5  # the one that was taken, those that are ready, and one in the settings
    found.close()  # type: ignore[attr-defined]


def test_the_thread_ends_with_whoever_stops_early() -> None:
    before = threading.active_count()
    found = ahead(iter(range(1000)))
    assert next(found) == 0
    assert threading.active_count() == before + 1
    del found
    assert threading.active_count() == before
