"""What can go wrong around the command: the exit status and the message of each, as a shell's user meets them."""

import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds
FULL = "Error: {}No space left on device; free some space and run the command again; nothing was replaced\n"
CLOSED = "Error: {}Bad file descriptor; stdin or stdout was closed; name a file, or open it\n"
NO_FILE = "Error: {}No such file or directory; check the name\n"
TRANSLATE = 'heed translate -m "$MODEL" --max-length 3 --threads 1'

TABLE = {
    "help, to a full disk": ("heed --help > /dev/full", 1, FULL.format("")),
    "a command's help, to a full disk": ("heed translate --help > /dev/full", 1, FULL.format("")),
    "the version, to a full disk": ("heed --version > /dev/full", 1, FULL.format("")),
    "lines, to a full disk": (f"echo 1 2 | {TRANSLATE} > /dev/full", 1, FULL.format("")),
    "lines, to a device that is full": (f"echo 1 2 | {TRANSLATE} -o /dev/full", 1, FULL.format("/dev/full: ")),
    "help, stdout closed": ("heed --help >&-", 1, CLOSED.format("")),
    "lines, stdout closed": (f"echo 1 2 | {TRANSLATE} >&-", 1, CLOSED.format("")),
    "lines to a file, stdout closed": (f"echo 1 2 | {TRANSLATE} -o out >&-", 0, ""),
    "stdin closed": (f"{TRANSLATE} <&-", 1, CLOSED.format("stdin: ")),
    "lines of a file, stdin closed": (f"echo 1 2 > in; {TRANSLATE} -i in <&-", 0, ""),
    "an error, stderr closed": ("heed translate -m nowhere 2>&-", 4, ""),
    "the reader has left": (f"yes 1 2 | {TRANSLATE} | head -n 1; exit ${{PIPESTATUS[1]}}", 141, ""),
    "no such input": (f"{TRANSLATE} -i nowhere", 2, ".*File 'nowhere' does not exist.\n"),
    "no such directory": (f"{TRANSLATE} -o no/out", 1, "Error: no/out: the directory .*/no does not exist; .*\n"),
    "the output's directory vanishes": (
        "mkdir d; (echo 1 2; until [ -s d/out.part ]; do sleep 0.01; done; rm -r d; sleep 1.1; echo 3) | "
        f"{TRANSLATE} -o d/out",
        1,
        NO_FILE.format(".*/d/out.part.json.new: "),
    ),
    "the second input vanishes": (
        f"mkfifo pipe; echo 3 > in; (exec 3> pipe; rm in; echo 1 2 >&3) & {TRANSLATE} -i pipe -i in",
        1,
        NO_FILE.format("in: "),
    ),
    "an earlier job was not finished": (
        f"echo 1 2 > in; echo x > out.part; {TRANSLATE} -i in -o out",
        1,
        "Error: .*/out.part: already exists, from an unfinished job; continue with --resume, or .* --force\n",
    ),
}  # fmt: skip


def run(command: str, program: Path, bundle: Path, directory: Path) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"MODEL": str(bundle), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", command], cwd=directory, env=environment, capture_output=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize(("command", "status", "message"), TABLE.values(), ids=TABLE)
def test_a_failure_has_a_status_and_a_line(
    program: Path, bundle: Path, tmp_path: Path, command: str, status: int, message: str
) -> None:
    if "/dev/full" in command and not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full")
    finished = run(command, program, bundle, tmp_path)
    said = finished.stderr.decode()
    assert finished.returncode == status, said
    assert re.fullmatch(message, said, re.DOTALL), said
    assert "Traceback" not in said


def test_a_directory_that_cannot_be_written_to(program: Path, bundle: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    directory = tmp_path if not os.access(tmp_path, os.W_OK) else Path("/sys")  # which even root cannot
    finished = run(f"echo 1 2 | {TRANSLATE} -o {directory}/out", program, bundle, tmp_path)
    tmp_path.chmod(0o755)
    assert finished.returncode == 1
    reason = "(Permission denied; check the permissions|Read-only file system; choose another place)"
    assert re.fullmatch(f"Error: {directory}/out.part: {reason}\n", finished.stderr.decode())


def test_what_was_done_before_an_input_vanished_is_out(program: Path, bundle: Path, tmp_path: Path) -> None:
    finished = run(TABLE["the second input vanishes"][0], program, bundle, tmp_path)
    assert finished.stdout == run(f"echo 1 2 | {TRANSLATE}", program, bundle, tmp_path).stdout


def test_a_line_of_ten_megabytes(program: Path, bundle: Path, tmp_path: Path) -> None:
    word = b"x" * 997 + b" 1 "
    (tmp_path / "in").write_bytes(b"1 2\n" + word * 10_000 + b"\n3 4\n")
    finished = run(f"{TRANSLATE} --beam-size 1 -i in", program, bundle, tmp_path)
    assert finished.returncode == 0
    assert finished.stderr.decode() == (
        "Warning: 1 line was translated in pieces, around what is protected, because its place could not be "
        "determined: line 2\n"
        f"Warning: 1 line has characters that the model does not know, copied as they are: line 2 ({'x' * 39}…)\n"
    )
    first, long, last = finished.stdout.splitlines()
    assert long.count(b" ") > 50  # from each of its parts
    assert (
        first + b"\n" + last + b"\n"
        == run(f"printf '1 2\\n3 4\\n' | {TRANSLATE} --beam-size 1", program, bundle, tmp_path).stdout
    )


def test_a_hundred_thousand_empty_lines(program: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\n" * 100_000)
    finished = run(f"{TRANSLATE} -i in", program, bundle, tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, b"\n" * 100_000, b"")


def test_a_terminal_on_stdin_is_told_what_is_waited_for(program: Path, bundle: Path) -> None:
    ours, theirs = pty.openpty()
    command = [str(program), "translate", "-m", str(bundle), "--threads", "1"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        os.write(ours, b"1 2\n")
        assert process.stdout is not None
        assert process.stdout.readline().strip()  # before more is typed
        os.write(ours, b"\n\x04")  # Ctrl-D
        rest, said = process.communicate(timeout=PATIENCE)
    os.close(ours)
    assert (process.returncode, rest) == (0, b"\n")
    assert said == b"Type lines to translate; Ctrl-D ends.\n"


def test_a_terminal_on_stderr_is_shown_how_far_it_is(program: Path, bundle: Path, tmp_path: Path) -> None:
    """And the lines are those of a run without one."""
    (tmp_path / "in").write_bytes(b"1 2\n" * 3000)
    ours, theirs = pty.openpty()
    command = [str(program), "translate", "-m", str(bundle), "--threads", "1", "-i", str(tmp_path / "in")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        lines = process.stdout.read()
        shown = b""
        while True:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:  # it was closed
                break
    os.close(ours)
    assert process.returncode == 0
    assert lines == run(f"{TRANSLATE} -i in".replace(" --max-length 3", ""), program, bundle, tmp_path).stdout
    assert b"3,000 lines" in shown
    assert b"lines/s" in shown
    assert b"100%" in shown


def test_ctrl_c_while_modules_are_imported(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    code = "from heed.cli.start import start; start()"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, b"", b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_onnx_runtime_is_imported(bundle: Path, tmp_path: Path, number: int, status: int) -> None:
    """What its binding makes of it."""
    code = f"""
        import signal
        try:
            signal.raise_signal({int(number)})
        except BaseException as error:
            raise ImportError("initialization failed") from error
    """
    (tmp_path / "onnxruntime.py").write_text(textwrap.dedent(code))
    command = "from heed.cli.start import start; start()"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    arguments = [sys.executable, "-c", command, "translate", "-m", str(bundle)]
    finished = subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (status, b"", b"")
