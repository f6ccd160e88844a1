"""What only a process of its own shows: a pipe that stays open, one that closes, and signals."""

import contextlib
import itertools
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 30.0  # seconds; an answer takes a tenth of one where the machine has nothing else to do

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(program: Path, bundle: Path) -> Iterator[Start]:
    """Starts `heed translate` with pipes; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        command = [str(program), "translate", "-m", str(bundle), "--max-length", "6", "--threads", "1", *arguments]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of stdout, if it comes while stdin is open."""
    assert process.stdout is not None
    line, give_up = b"", time.monotonic() + PATIENCE
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, give_up - time.monotonic()))
        assert ready, f"no line within {PATIENCE} seconds, only {line!r}"
        byte = os.read(process.stdout.fileno(), 1)
        assert byte, "stdout was closed"
        line += byte
    return line


def test_a_line_is_answered_before_the_next_is_written(start: Start) -> None:
    process = start()
    say(process, b"1 2 3\n")
    first = hear(process)
    assert first.strip()
    say(process, b"\n")
    assert hear(process) == b"\n"
    say(process, b"1 2")  # half a line waits for its end
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 0.3)[0] == []
    say(process, b" 3\n4 5\n")
    assert hear(process) == first
    rest, complaints = process.communicate(timeout=PATIENCE)
    assert rest.count(b"\n") == 1
    assert complaints == b""
    assert process.returncode == 0


def test_a_reader_that_leaves_ends_the_program_with_141(start: Start) -> None:
    """As in `heed translate | head -n 1`; 141 is what a shell says of a program that SIGPIPE ended."""
    process = start()
    say(process, b"1 2\n")
    hear(process)
    assert process.stdout is not None
    process.stdout.close()
    say(process, b"3 4\n")
    assert process.wait(timeout=PATIENCE) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.mark.parametrize("to_file", [False, True], ids=["stdout", "file"])
def test_ctrl_c_ends_the_program_with_130(start: Start, tmp_path: Path, to_file: bool) -> None:
    output = tmp_path / "out"
    process = start(*(["-o", str(output)] if to_file else []))
    say(process, b"1 2\n")
    if to_file:
        aside, give_up = tmp_path / "out.part", time.monotonic() + PATIENCE
        while not (aside.exists() and aside.read_bytes().endswith(b"\n")):
            assert time.monotonic() < give_up
            time.sleep(0.01)
    else:
        hear(process)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Traceback" not in complaints
    assert not output.exists()
    if to_file:
        assert complaints.decode() == (
            f"{output} is not complete; {tmp_path / 'out.part'} has what is done; continue with --resume\n"
        )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("width", [10, 3_000, 200_000])
def test_a_signal_in_the_midst_of_writing_cuts_no_line(start: Start, number: int, status: int, width: int) -> None:
    """Blank lines pass as they are, so it is known what must come out; the pipe is full when the signal comes."""
    process = start("--batch-size", "4")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdin, stdout = process.stdin, process.stdout

    def lines() -> Iterator[bytes]:
        for place in itertools.count():
            yield b"1 2\n" if place % 50 == 0 else b" " * (width + place % 7) + b"\n"

    def feed() -> None:
        try:
            for line in lines():
                stdin.write(line)
        except BrokenPipeError:
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    found = stdout.read(1 << 18)
    time.sleep(0.2)  # until it waits for its reader
    process.send_signal(number)
    found += stdout.read()
    assert process.wait(timeout=PATIENCE) == status
    assert process.stderr.read() == b""
    feeder.join()
    process.stdin = None
    with contextlib.suppress(BrokenPipeError):  # it writes what is left
        stdin.close()
    assert found.endswith(b"\n")
    expected = list(itertools.islice(lines(), found.count(b"\n")))
    for place, (line, source) in enumerate(zip(found.removesuffix(b"\n").split(b"\n"), expected, strict=True)):
        assert bool(line.strip()) if place % 50 == 0 else line + b"\n" == source
