"""Making things ready beside the work that needs them."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from heed.models.system.threads import is_refused

Thing = TypeVar("Thing")
WAIT = 0.1  # seconds after which a full queue looks whether anyone still wants what is in it


class _End(Generic[Thing]):
    """Behind the last thing, with the error that ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(things: Iterator[Thing], ready: int = 2) -> Iterator[Thing]:
    """The same things in the same order, made by a thread that keeps some ready.

    The thread ends with the things, with an error of theirs, which is passed on, or when the iterator is closed.
    It begins with the first thing that is asked for.
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
    """Hand a thing over; False if nobody wants it any more."""
    while not closed.is_set():
        try:
            made.put(thing, timeout=WAIT)
        except queue.Full:
            continue
        return True
    return False
