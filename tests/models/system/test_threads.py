"""Threads that the system may refuse."""

import threading

import pytest

from heed.models.errors import HeedError
from heed.models.system.threads import Task, require_threads


def test_threads_that_are_refused_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """SentencePiece ended the program where it could start none, in the middle of `heed train`."""
    before, start = threading.active_count(), threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if threading.active_count() - before >= 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    require_threads(3)
    with pytest.raises(HeedError, match="only 3 of 16 threads could be started"):
        require_threads(16)
    assert threading.active_count() == before


@pytest.mark.parametrize("refused", [False, True])
def test_a_task_is_done_with_a_thread_or_without(refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def fail() -> None:
        raise HeedError("no")

    if refused:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    me = threading.current_thread()
    assert (Task(threading.current_thread).result() is me) == refused
    failing = Task(fail)
    failing.wait()
    with pytest.raises(HeedError, match="no"):
        failing.result()
