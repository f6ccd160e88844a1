"""Prefetch: preparing items in a thread."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from heed.models.system.threads import is_refused

Thing = TypeVar("Thing")
WAIT = 0.1  # seconds between checks whether a consumer of a full queue still exists


class _End(Generic[Thing]):
    """The end of the items, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(things: Iterator[Thing], ready: int = 2) -> Iterator[Thing]:
    """The same items in the same order, made by a thread that keeps some ready.

    The thread starts when the first item is requested. It ends after the last item, after an error, which is passed on,
    or when the iterator is closed.
    """
    made: queue.Queue[Thing | _End[Thing]] = queue.Queue(ready)
    closed = threading.Event()
    thread = threading.Thread(target=_make, args=(things, made, closed), daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if not is_refused(error):
            raise
        yield from things
        return
    try:
        while not isinstance(thing := made.get(), _End):
            yield thing
        if thing.error:
            raise thing.error
    finally:
        closed.set()
        thread.join()


def _make(things: Iterator[Thing], made: "queue.Queue[Thing | _End[Thing]]", closed: threading.Event) -> None:
    end = _End[Thing]()
    try:
        for thing in things:
            if not _put(thing, made, closed):
                return
    except BaseException as error:  # noqa: BLE001 - the consumer's thread raises it
        end = _End(error)
    _put(end, made, closed)


def _put(thing: Thing | _End[Thing], made: "queue.Queue[Thing | _End[Thing]]", closed: threading.Event) -> bool:
    """Put an item into the queue; False if there is no consumer any more."""
    while not closed.is_set():
        try:
            made.put(thing, timeout=WAIT)
        except queue.Full:
            continue
        return True
    return False
