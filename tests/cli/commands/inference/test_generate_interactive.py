"""What only a process of its own shows of `heed generate`: text as it is made, readers that leave, Ctrl-C."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

PATIENCE = 30.0  # seconds; an answer takes a fraction of one where the machine has nothing else to do
CONTEXT = 1000  # so long that a text is not made at once


@pytest.fixture(scope="module")
def text_bundle(tmp_path_factory: pytest.TempPathFactory, heed: Callable[..., Result]) -> Path:
    """The bundle of a language model that was hardly trained, so that its texts go on and on."""
    directory = tmp_path_factory.mktemp("text")
    text = directory / "text"
    text.write_text("".join(f"the cat {i} sat on the mat {i * i}\n" for i in range(300)))
    network = ["--preset", "gpt-tiny", "--n-layers", "2", "--d-model", "32", "--d-ff", "32", "--n-heads", "2"]
    training = ["--n-kv-heads", "2", "--context", str(CONTEXT), "--batch-tokens", str(CONTEXT), "--vocab-size", "300"]
    rest = ["--steps", "2", "--precision", "float32", "--device", "cpu", "--threads", "1"]
    run = directory / "run"
    for arguments in (
        ["train", "--text", text, "-o", run, *network, *training, *rest],
        ["export", run, "-o", directory / "b"],
    ):
        result = heed(*arguments)
        assert result.exit_code == 0, result.stderr
    return directory / "b"


@pytest.fixture
def start(program: Path, text_bundle: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `heed generate`; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, terminal: int | None = None) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        command = [str(program), "generate", "-m", str(text_bundle), "--threads", "1", "--seed", "1", *arguments]
        streams = terminal or pipe
        started.append(subprocess.Popen(command, stdin=streams, stdout=streams, stderr=streams))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[..., subprocess.Popen[bytes]]


def hear(descriptor: int, enough: Callable[[bytes], bool]) -> bytes:
    """What comes, until it is enough."""
    heard, give_up = b"", time.monotonic() + PATIENCE
    while not enough(heard):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, give_up - time.monotonic()))
        assert ready, f"no more within {PATIENCE} seconds than {heard[-200:]!r}"
        piece = os.read(descriptor, 1 << 16)
        assert piece, f"no more comes than {heard[-200:]!r}"
        heard += piece
    return heard


def test_text_comes_while_it_is_made(start: Start) -> None:
    process = start("the cat")
    assert process.stdout is not None
    first = hear(process.stdout.fileno(), lambda heard: len(heard) > 20)
    assert first.startswith(b"the cat")
    assert process.poll() is None  # it is still at it
    rest, complaints = process.communicate(timeout=PATIENCE)
    assert len(first + rest) > 2 * len(first)
    (first + rest).decode("utf-8")
    assert complaints.decode() in ("", f"The model's context of {CONTEXT:,} tokens is full.\n")
    assert process.returncode == 0


def test_a_reader_that_leaves_ends_the_program_with_141(start: Start) -> None:
    process = start("the cat")
    assert process.stdout is not None
    hear(process.stdout.fileno(), lambda heard: len(heard) > 20)
    process.stdout.close()
    assert process.wait(timeout=PATIENCE) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_ctrl_c_ends_a_text_with_130(start: Start) -> None:
    process = start("the cat")
    assert process.stdout is not None
    hear(process.stdout.fileno(), lambda heard: len(heard) > 20)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert complaints == b""


def test_in_a_conversation_ctrl_c_stops_the_answer_and_ctrl_d_ends(start: Start) -> None:
    ours, theirs = pty.openpty()
    process = start("--chat", terminal=theirs)
    os.close(theirs)
    assert b"Ctrl-D ends" in hear(ours, lambda heard: heard.endswith(b"> "))
    for _ in range(2):  # the conversation goes on
        os.write(ours, b"hello\n")
        hear(ours, lambda heard: len(heard) > 60)  # what was typed, and some of the answer
        process.send_signal(signal.SIGINT)
        assert b"(stopped)" in hear(ours, lambda heard: heard.endswith(b"> "))
    os.write(ours, b"hel")
    hear(ours, lambda heard: heard.endswith(b"hel"))
    time.sleep(0.5)  # until it waits for the next key; Python does not see a signal in between
    process.send_signal(signal.SIGINT)  # leaves the line alone
    hear(ours, lambda heard: heard.endswith(b"> "))
    os.write(ours, b"\x04")
    assert process.wait(timeout=PATIENCE) == 0
    os.close(ours)
