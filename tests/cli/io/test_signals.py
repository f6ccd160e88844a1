"""A signal ends the program, wherever Python runs its handler and whatever the code around makes of it."""

import signal
import subprocess
import sys
import textwrap

import pytest

START = """
import signal, sys, time
from heed.cli import main as program
from heed.models.errors import DataError

def work():
    {work}

program.main = work
program.run()
"""
WORKS = {
    "a library's own error": """
    import sentencepiece
    def lines():
        print("ready", flush=True)
        time.sleep(30)
        yield "a"
    try:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines(), model_prefix="/nowhere/x", vocab_size=9)
    except RuntimeError as error:
        raise DataError(f"no vocabulary: {error}")""",
    "an exception that is passed over": """
    try:
        print("ready", flush=True)
        time.sleep(30)
    except BaseException:
        pass
    time.sleep(30)""",
    "a destructor": """
    class Dying:
        def __del__(self):
            print("ready", flush=True)
            time.sleep(30)
    Dying()
    time.sleep(30)""",
    "a destructor that fails for it": """
    class Dying:
        def __del__(self):
            try:
                print("ready", flush=True)
                time.sleep(30)
            finally:
                raise RuntimeError("it could not be closed")
    Dying()
    time.sleep(30)""",
    "a callback of the garbage collector": """
    import gc
    def waits(phase, info):
        gc.callbacks.remove(waits)
        print("ready", flush=True)
        time.sleep(30)
    gc.callbacks.append(waits)
    gc.collect()
    time.sleep(30)""",
    "a callback of a weak reference": """
    import weakref
    def waits(_):
        print("ready", flush=True)
        time.sleep(30)
    class Dying: pass
    dying = Dying()
    reference = weakref.ref(dying, waits)
    del dying
    time.sleep(30)""",
    "a callback of C": """
    import ctypes
    @ctypes.CFUNCTYPE(None)
    def waits():
        print("ready", flush=True)
        time.sleep(30)
    waits()
    time.sleep(30)""",
    "a failed import": """
    try:
        print("ready", flush=True)
        time.sleep(30)
    except BaseException as error:
        raise ImportError("numpy cannot be imported") from error""",
    "clearing up that takes its time": """
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        time.sleep(1)
        print("cleared up", flush=True)""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_a_signal_wins(work: str, number: signal.Signals) -> None:
    program = START.format(work=textwrap.indent(textwrap.dedent(work), "    ").strip())
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert err == b""
    assert (out == b"cleared up\n") == ("cleared up" in work)


SLOW_END = """
import os, signal, sys, time, types
from heed.cli import main as program

program.main = lambda: os.kill(os.getpid(), signal.{name})
sys.stdout = types.SimpleNamespace(flush=lambda: time.sleep(0.5))
program.run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_slow_end_is_no_second_signal(number: signal.Signals) -> None:
    """As of a process that was stopped for a while, or on a machine with too much to do."""
    code = SLOW_END.format(name=number.name)
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (finished.returncode, finished.stderr) == (128 + number, b"")


def test_an_error_that_is_no_signal_is_still_told_where_python_cannot_raise_it() -> None:
    work = """
    class Dying:
        def __del__(self):
            raise RuntimeError("it could not be closed")
    Dying()"""
    program = START.format(work=textwrap.indent(textwrap.dedent(work), "    ").strip())
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert finished.returncode == 0
    assert b"it could not be closed" in finished.stderr
