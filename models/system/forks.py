"""Forked processes: only the thread that forked lives on in them."""

import ctypes
import os
import weakref
from collections.abc import Callable


def call_in_children(method: Callable[[], None]) -> None:
    """Call a method in every process that is forked from this one, as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if found := reference():
            found()

    os.register_at_fork(after_in_child=call)


def never_free(thing: object) -> None:
    """Keep an object for as long as the process lives: its destructor would wait for threads that it lacks."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
