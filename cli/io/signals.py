"""Signals that end the program, and lines that they do not cut."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """SIGTERM has come; as KeyboardInterrupt, it is no error."""


def end_on_sigterm() -> None:
    """Let SIGTERM end the program as Ctrl-C does, with what is being written left in order; unless it is ignored."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let a signal that would end the program wait for the end of the block; a second one does not wait."""
    before = {number: signal.getsignal(number) for number in ENDING}
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if came and callable(handler := before[signal.Signals(number)]):
            handler(number, frame)
        came.append(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(signal.Signals(came[0]))
