"""Decoding states of a network, for threads that decode at the same time."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from heed.models.errors import ModelError
from heed.models.runtime.protocol import Network, State
from heed.models.system.forks import call_in_children


class States:
    """Lends each thread a decoding state of its own; a state is used again by the next one.

    Args:
        load: Makes the network, when a state is first needed.
        limit: Maximum number of states in use; further threads wait. None: no limit.
    """

    def __init__(self, load: Callable[[], Network], limit: int | None = None) -> None:
        self._load, self._limit = load, limit
        self._network: Network | None = None
        self._is_closed = False
        self._renew()
        call_in_children(self._renew)

    def _renew(self) -> None:
        """Begin without states: those of the process that forked are in use by threads that do not exist here."""
        self._free: SimpleQueue[State | None] = SimpleQueue()  # None: a state that has not been made yet
        for _ in range(self._limit or 0):
            self._free.put(None)
        self._loading = threading.Lock()

    @property
    def n_free(self) -> int:
        """Number of states that nobody uses; at least 1, which is the next one to be returned."""
        return max(1, self._free.qsize())

    @contextlib.contextmanager
    def borrow(self) -> Iterator[State]:
        """A state for the block.

        Raises:
            ModelError: The states are closed.
        """
        free, state = self._free, None
        with contextlib.suppress(Empty):
            state = free.get(block=self._limit is not None)
        try:
            state = state or self._new()
            yield state
        finally:
            free.put(state)

    def _new(self) -> State:
        with self._loading:
            if self._is_closed:
                raise ModelError("this model is closed; load it again")
            if self._network is None:
                self._network = self._load()
            return self._network.state()

    def close(self) -> None:
        """Free the network and its states, those in use as soon as they are returned."""
        with self._loading:
            self._is_closed, self._network, self._load = True, None, _closed
            self._renew()


def _closed() -> Network:
    raise AssertionError("a closed model loads nothing")
