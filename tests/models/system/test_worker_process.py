"""Processes that answer requests: what they raise, when they die, and how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from heed.models.errors import DataError
from heed.models.system.process_pool import ProcessPool
from heed.models.system.worker_process import LostWorkerError, WorkerProcess

PATIENCE = 60  # seconds


def doubling() -> Callable[[object], object]:
    """Answers of a process: doubles, errors, its number, or its death."""
    print("a library's greeting")

    def answer(request: object) -> object:
        if request == "pid":
            return os.getpid()
        if request == "forever":
            time.sleep(PATIENCE)
        if request == "slow":
            time.sleep(0.5)
            return os.getpid()
        if isinstance(request, Path):
            if not request.exists():
                request.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return "alive"
        if request == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if request == "bad":
            raise DataError("line 3 is bad")
        time.sleep(0.001)
        return 2 * request  # type: ignore[operator]

    return answer


def failing() -> Callable[[object], object]:
    raise DataError("no such model")


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_a_process_answers_and_raises() -> None:
    with WorkerProcess(doubling) as process:
        assert process.ask(21) == 42
        with pytest.raises(DataError, match="line 3 is bad"):
            process.ask("bad")
        assert process.ask("x" * 1_000_000) == "x" * 2_000_000
        pid = process.ask("pid")
        assert isinstance(pid, int)
        assert pid != os.getpid()
    assert not running(pid)


def test_files_of_the_working_directory_are_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pickle", "random", "subprocess", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    with WorkerProcess(doubling) as process:
        assert process.ask(21) == 42


def test_what_cannot_be_loaded_is_told_to_whoever_asks() -> None:
    with WorkerProcess(failing) as process:
        for _ in range(2):
            with pytest.raises(DataError, match="no such model"):
                process.ask(1)


def test_a_process_that_dies_is_started_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkerProcess(doubling) as process:
        before = process.ask("pid")
        assert process.ask(tmp_path / "died") == "alive"
        assert process.ask("pid") != before
        with pytest.raises(LostWorkerError, match="ended twice"):
            process.ask("die")
        assert process.ask(1) == 2

        def refuse(*_: object, **__: object) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(LostWorkerError, match="no other can be started: Resource temporarily unavailable"):
            process.ask("die")


def test_a_pool_shares_its_requests() -> None:
    with ProcessPool(doubling, 3) as pool:
        futures = [pool.submit(n) for n in range(300)]
        pids = [pool.submit("slow") for _ in range(3)]
        assert [future.result(PATIENCE) for future in futures] == [2 * n for n in range(300)]
        found = {pid.result(PATIENCE) for pid in pids}
        assert len(found) == 3
    assert not any(running(pid) for pid in found if isinstance(pid, int))


def test_a_pool_that_is_closed_does_not_wait() -> None:
    pool = ProcessPool(doubling, 1)
    asked, *_ = [pool.submit(each) for each in ("forever", *range(1000))]
    process = pool._processes[0]
    time.sleep(0.1)
    pool.close()
    with pytest.raises(LostWorkerError):
        asked.result(PATIENCE)
    assert process._process.poll() is not None


def test_a_system_that_starts_one_process_only_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    started, popen = list["subprocess.Popen[bytes]"](), subprocess.Popen

    def limited(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(popen(*arguments, **named))  # type: ignore[call-overload]
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", limited)
    with pytest.raises(BlockingIOError):
        ProcessPool(doubling, 2)
    assert started[0].poll() is not None


def test_a_process_ends_with_the_one_that_started_it() -> None:
    """Even where that is killed, and closes nothing."""
    code = (
        "import os, signal; from tests.models.system.test_worker_process import *\n"
        "process = WorkerProcess(doubling)\n"
        "print(process.ask('pid'), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    end = time.monotonic() + PATIENCE
    while running(int(killed.stdout)):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert killed.stderr == "a library's greeting\n"  # not among the answers


def test_partial_functions_load_too() -> None:
    with WorkerProcess(partial(partial, max)) as process:
        assert process.ask([1, 3, 2]) == 3
