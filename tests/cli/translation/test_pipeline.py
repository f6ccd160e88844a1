"""Long translations: in order whichever process is first, nothing lost, nothing delayed."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.batch.job import Answer
from heed.cli.batch.workers.translation import TranslationRequest
from heed.cli.processes import suit_processes
from heed.cli.translation import pipeline
from heed.cli.translation.pipeline import Pipeline, Pool
from heed.models.bundle.catalog import DEFAULT
from heed.models.errors import DataError

PATIENCE = 300  # seconds
Heed = Callable[..., Result]
LINES = [f"Tom has {n} dogs." for n in range(400)]


def upper(request: TranslationRequest) -> Answer:
    return Answer([text.upper() for text in request.texts], len(request.texts))


class SlowPool:
    """Threads that answer after some time, in any order."""

    n = 3

    def __init__(self) -> None:
        self._threads, self.n_asked = ThreadPoolExecutor(3), 0

    def submit(self, request: TranslationRequest) -> Future[Answer]:
        self.n_asked += 1
        return self._threads.submit(self._answer, request)

    def _answer(self, request: TranslationRequest) -> Answer:
        time.sleep(random.random() / 1000)
        return upper(request)

    def close(self) -> None:
        self._threads.shutdown()


def requests(sizes: list[int]) -> Iterator[tuple[int, TranslationRequest]]:
    for item, size in enumerate(sizes):
        texts = [f"{item}.{i}x" for i in range(size)]
        yield item, TranslationRequest(texts, [""] * size, (), tags=False)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job is long."""
    monkeypatch.setattr(pipeline, "SECONDS", 0)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 9), max_size=30), is_long=st.booleans(), fails=st.booleans(), waits=st.booleans())
def test_answers_come_in_order_and_an_error_of_the_input_comes_last(
    sizes: list[int], is_long: bool, fails: bool, waits: bool
) -> None:
    def asked() -> Iterator[tuple[int, TranslationRequest]]:
        yield from requests(sizes)
        if fails:
            raise DataError("line 9 is bad")

    found, error = list[tuple[int, Answer]](), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SECONDS", 0 if is_long else 1e6)
        patch.setattr(pipeline, "PART", 4)
        with Pipeline(upper, lambda: cast("Pool", SlowPool())) as pipe:
            try:
                found.extend(pipe.answers(asked(), lambda: waits))
            except DataError as raised:
                error = raised
    assert found == [(item, upper(request)) for item, request in requests(sizes)]
    assert (error is not None) == fails


@pytest.mark.usefixtures("at_once")
def test_an_error_of_a_process_ends_the_job_where_it_happened() -> None:
    class Failing(SlowPool):
        def _answer(self, request: TranslationRequest) -> Answer:
            if request.texts[0].startswith("5."):
                raise DataError("no memory")
            return upper(request)

    found = list[tuple[int, Answer]]()
    with Pipeline(upper, lambda: cast("Pool", Failing())) as pipe, pytest.raises(DataError, match="no memory"):
        found.extend(pipe.answers(requests([2] * 20), lambda: False))
    assert [item for item, _ in found] == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("waits", [False, True])
def test_it_reads_ahead_only_what_has_arrived_and_keeps_processes_busy(waits: bool) -> None:
    n_read, ahead = 0, []

    def asked() -> Iterator[tuple[int, TranslationRequest]]:
        nonlocal n_read
        for each in requests([2] * 40):
            n_read += 1
            yield each

    class Stuck(SlowPool):
        """Answers when it is waited for."""

        def submit(self, request: TranslationRequest) -> Future[Answer]:
            found = Future[Answer]()
            found.result = lambda timeout=None: upper(request)  # type: ignore[method-assign]
            return found

    with Pipeline(upper, lambda: cast("Pool", Stuck())) as pipe:
        for item, _ in pipe.answers(asked(), lambda: waits):
            ahead.append(n_read - item)
    assert max(ahead) == (1 if waits else 2 * SlowPool.n + 1)


def test_where_no_process_can_be_started_the_job_is_done_here() -> None:
    def refuse() -> Any:
        raise BlockingIOError

    with pytest.MonkeyPatch.context() as patch, Pipeline(upper, refuse) as pipe:
        patch.setattr(pipeline, "SECONDS", 0)
        assert len(list(pipe.answers(requests([2] * 9), lambda: False))) == 9


def test_large_models_and_other_devices_are_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert suit_processes([DEFAULT], "cpu")
    assert not suit_processes([DEFAULT], "cuda")
    assert not suit_processes([DEFAULT] * 10, "cpu")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("form", ["plain", "json", "tags"])
def test_processes_write_what_threads_write(heed: Heed, tmp_path: Path, form: str) -> None:
    options = {"plain": [], "json": ["--json"], "tags": ["--keep-tags", "--protect", "Tom"]}[form]
    file = tmp_path / "in.txt"
    file.write_text("".join(f"{line}\n" for line in [*LINES, "<b>Hello!</b>", "", "Ask Nakamura in 1987."]))
    found = {}
    for threads in (1, 3):
        output = tmp_path / f"{threads}.txt"
        result = heed("translate", "-i", file, "-o", output, "--threads", threads, "--beam-size", 1, *options)
        assert result.exit_code == 0, result.output
        found[threads] = output.read_bytes()
    assert found[1] == found[3]
    assert found[1].count(b"\n") == len(LINES) + 3


def test_processes_end_with_the_command(program: Path, tmp_path: Path) -> None:
    """Ctrl-C ends it within a second or so, though its processes still have much to do; --resume continues."""
    file, output = tmp_path / "in.txt", tmp_path / "out.txt"
    file.write_text("".join(f"{line}\n" for line in LINES * 60))
    command = [str(program), "translate", "-i", str(file), "-o", str(output), "--threads", "3", "--beam-size", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, process_group=0) as process:
        end = time.monotonic() + PATIENCE
        while not (started := children(process.pid)):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        # One that was being made when the signal came has no one to end it, and ends when it reads that nobody asks.
        end = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{pid}").exists() for pid in started):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    done = output.with_name("out.txt.part").read_bytes().count(b"\n")
    assert done >= 64


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
