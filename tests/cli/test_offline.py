"""Without a network, and without what only training and export need, every other command works."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heed.cli.main import COMMANDS

# Python runs this before the installed command, in the same process.
REFUSALS = """
import socket
import sys

MISSING = {"torch", "onnx", "onnx_ir", "safetensors", "tensorboard", "tomli_w"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def refuse(*arguments, **settings):
    raise RuntimeError("the network was asked for")


sys.meta_path.insert(0, Refuse())
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = socket.socket.sendto = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""
TRAINING = {"train", "export", "import"}
ELSEWHERE = {"serve", "fill", "embed"}  # a server needs a socket, and the others a model of another task
# MODEL, TEXT_MODEL, TRAINED and TEXT stand for files. A new command needs a line here.
WORKING = [
    ["translate", "-m", "MODEL", "-i", "TEXT", "--max-length", "4", "-v"],
    ["evaluate", "-m", "MODEL", "--src", "TEXT", "--ref", "TEXT", "--max-length", "4"],
    ["evaluate", "--hyp", "TEXT", "--ref", "TEXT"],
    ["generate", "-m", "TEXT_MODEL", "1 2", "--max-tokens", "4"],
    ["score", "-m", "TEXT_MODEL", "-i", "TEXT"],
    ["attention", "-m", "TEXT_MODEL", "1 2"],
    ["align", "-m", "MODEL", "--src", "TEXT", "--tgt", "TEXT"],
    ["doctor", "-m", "MODEL"],
    ["models", "list"],
    ["models", "info", "MODEL"],
    ["models", "verify", "MODEL"],
    ["runs", "list", "TRAINED"],
    ["runs", "show", "TRAINED"],
    ["completion", "bash"],
    ["man"],
]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, trained: Path, bundle: Path, text_bundle: Path) -> Run:
    """Runs a program of Python's in such a place."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "sitecustomize.py").write_text(REFUSALS)
    (tmp_path / "text").write_text("1 2 3\n\n4 5\n")
    models = {"TRAINED": trained, "MODEL": bundle, "TEXT_MODEL": text_bundle}
    files = models | {"TEXT": tmp_path / "text", "RUN": tmp_path / "run"}
    path = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))

    def start(*words: object) -> "subprocess.CompletedProcess[str]":
        command = [str(files.get(str(word), word)) for word in words]
        return subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
        )

    return start


@pytest.mark.parametrize(
    "line", ["import torch.nn", "import onnx", "import socket; socket.create_connection(('localhost', 80))"]
)
def test_the_place_refuses(run: Run, line: str) -> None:
    finished = run(sys.executable, "-c", line)
    assert finished.returncode == 1
    assert "No module named" in finished.stderr or "the network was asked for" in finished.stderr


def test_all_commands_are_here() -> None:
    assert {command for command, *_ in WORKING} | TRAINING | ELSEWHERE == set(COMMANDS)


@pytest.mark.parametrize("arguments", WORKING, ids=" ".join)
def test_a_command_works(run: Run, program: Path, arguments: list[str]) -> None:
    finished = run(program, *arguments)
    assert (finished.returncode, "Error" in finished.stderr) == (0, False), finished.stderr
    assert finished.stdout


@pytest.mark.parametrize(
    "arguments", [["train", "--src", "TEXT", "--tgt", "TEXT", "-o", "RUN"], ["export", "MODEL", "-o", "RUN"]]
)
def test_training_says_what_to_install(run: Run, program: Path, tmp_path: Path, arguments: list[str]) -> None:
    finished = run(program, *arguments)
    assert (finished.returncode, finished.stdout) == (1, "")
    told = finished.stderr.splitlines()[-1]
    assert told.startswith(f"Error: heed {arguments[0]} needs ")
    assert told.endswith(", which is not installed; where heed's source is: pip install '.[train]'")
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "run").exists()


def test_the_system_sees_no_connection(program: Path, bundle: Path, tmp_path: Path) -> None:
    """Whatever language a library is written in."""
    strace, trace = shutil.which("strace"), tmp_path / "trace"
    watch = [str(strace), "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    probe = [sys.executable, "-c", "import socket; socket.socket(socket.AF_INET)"]
    if strace is None or subprocess.run([*watch, *probe], capture_output=True, check=False).returncode:
        pytest.skip("there is no strace, or it may not trace")
    assert "AF_INET" in trace.read_text()
    command = [*watch, str(program), "translate", "-m", str(bundle), "--max-length", "4"]
    finished = subprocess.run(command, input=b"1 2 3\n", capture_output=True, timeout=60, check=False)
    assert (finished.returncode, finished.stdout.count(b"\n")) == (0, 1)
    calls = [line for line in trace.read_text().splitlines() if "(" in line and "AF_UNIX" not in line]
    assert calls == []


def test_nothing_is_kept_in_the_home_directory(program: Path, bundle: Path, tmp_path: Path) -> None:
    """ONNX Runtime would keep events there, to send them to its maker."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    command = [str(program), "translate", "-m", str(bundle), "--max-length", "4"]
    subprocess.run(
        command, input=b"1 2 3\n", env=environment | {"HOME": str(tmp_path)}, capture_output=True, check=True
    )
    assert list(tmp_path.iterdir()) == []
