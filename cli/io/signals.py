"""Signals that end the program without cutting a line."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """SIGTERM has arrived; like KeyboardInterrupt, it is not an error."""


def end_on_sigterm() -> None:
    """Let SIGTERM end the program as Ctrl-C does, after the current write; unless SIGTERM is ignored."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Delay a signal that ends the program until the end of the block; a second one does not wait."""
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
