"""Runs that are stopped at any moment, by any signal, and go on as if they had not been."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from heed.cli.main import run as heed_program
from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.subwords import Tokenizer, file_contents
from heed.transformer.data.text.parallel_text import ParallelText
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import Progress
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig

FORKED = multiprocessing.get_context("fork")  # starts in no time, for torch is imported
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
MEASURED = ("tokens_per_second", "minutes", "mfu")  # what differs from run to run
N_STEPS, VALID_EVERY = 40, 13
SETTINGS = [
    "--preset",
    "tiny",
    "--n-layers",
    "1",
    "--d-model",
    "16",
    "--d-ff",
    "24",
    "--n-heads",
    "2",
    "--dropout",
    "0.2",
]
SETTINGS += ["--vocab-size", "15", "--batch-tokens", "128", "--warmup", "20", "--precision", "float32"]
SETTINGS += ["--ema", "0.9", "--keep", "3", "--average", "2", "--device", "cpu", "--threads", "1"]


@pytest.fixture
def text(digit_lines: Callable[[int, int], list[str]], write_lines: Callable[[str, list[str]], str]) -> list[str]:
    lines = digit_lines(120, 2)
    return ["--src", write_lines("src", lines), "--tgt", write_lines("tgt", [line[::-1] for line in lines])]


def start(*words: object) -> BaseProcess:
    """Start the program, its words on stderr thrown away."""

    def work() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # as in a new process, and not as pytest has it
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        import sys

        sys.argv = ["heed", *map(str, words)]
        heed_program()

    process = FORKED.Process(target=work)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    process.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return process


def finish(process: BaseProcess) -> int:
    """The exit status as a shell sees it: 128 and the signal's number also where the signal itself ended it."""
    process.join(600)  # a process that hangs would take for ever; one of a busy machine takes minutes
    assert process.exitcode is not None
    return process.exitcode if process.exitcode >= 0 else 128 - process.exitcode


def outcome(run: Path) -> dict[str, object]:
    """All that a run leaves but for measured times: checkpoints byte for byte, the log record for record."""
    files = sorted((run / "checkpoints").rglob("*.safetensors"))
    records = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    log = [{key: value for key, value in record.items() if key not in MEASURED} for record in records]
    return {"log": log, **{str(file.relative_to(run)): file.read_bytes() for file in files}}


@pytest.mark.parametrize("n_runs", [3, pytest.param(150, marks=pytest.mark.slow)])
def test_a_run_goes_on_as_if_never_stopped(text: list[str], tmp_path: Path, n_runs: int) -> None:
    """Each run is hit twice, at random moments: while it reads, steps, validates or saves."""
    command = ["train", *text, *SETTINGS, "--steps", N_STEPS, "--valid-every", VALID_EVERY, "--resume"]
    begin = time.monotonic()
    assert finish(start(*command, tmp_path / "whole")) == 0
    duration = time.monotonic() - begin
    expected = outcome(tmp_path / "whole")
    chosen, hits = random.Random(5), 0
    for number in range(n_runs):
        run, sent = tmp_path / str(number), SIGNALS[number % 3]
        for _ in range(2):
            process = start(*command, run)
            time.sleep(chosen.uniform(0, duration))
            assert process.pid is not None
            os.kill(process.pid, sent)
            code = finish(process)
            assert code in (0, 128 + sent)
            hits += code != 0
        assert finish(start(*command, run)) == 0
        assert outcome(run) == expected, (number, sent)
    assert hits > n_runs / 2 or n_runs < 10  # a busy machine may let few runs be over before they are hit


@pytest.fixture
def big_run(tmp_path: Path, digits: Tokenizer, describe: Callable[..., NetworkSpec]) -> TranslationRun:
    """A run whose checkpoints take some milliseconds to write."""
    spec = describe(vocab_size=len(digits), d_model=128, d_ff=512)
    train = TranslationConfig(src=("a",), tgt=("b",), steps=7)
    return TranslationRun.create(
        tmp_path / "run", spec, train, file_contents(digits, digits), ParallelText(["1"], ["2"])
    )


@pytest.mark.parametrize("n_kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_save_that_is_killed_leaves_the_last_good_checkpoint(big_run: TranslationRun, n_kills: int) -> None:
    network = big_run.new_network()
    weights = checkpoint.weights_of(network)
    states = {f"{name}/{key}": tensor.clone() for name, tensor in weights.items() for key in checkpoint.MOMENTS}

    def save(step: int) -> None:
        torch.set_num_threads(1)  # a forked process has no others, and would wait for them
        marked = {name: torch.full_like(tensor, step) for name, tensor in weights.items()}
        checkpoint.save(big_run.checkpoint_path(step), marked, states, Progress(step=step), {})

    begin = time.monotonic()
    child = FORKED.Process(target=save, args=(1,))  # as those to come: to fork takes time, too
    child.start()
    child.join()
    duration = time.monotonic() - begin
    assert big_run.checkpoint_path(1).exists()
    chosen, cut_short = random.Random(7), 0
    for step in range(2, n_kills + 2):
        child = FORKED.Process(target=save, args=(step,))
        child.start()
        time.sleep(chosen.uniform(0, 2 * duration))
        child.kill()
        child.join()
        cut_short += not big_run.checkpoint_path(step).exists()
        with big_run.claimed():
            last = big_run.steps()[-1]
        found = checkpoint.load_progress(last).step
        assert found in (step, int(last.name.removeprefix("step-")))
        assert all((tensor == found).all() for tensor in checkpoint.read_weights(last).values())
        checkpoint.read_states(last)
        assert {file.name for file in (big_run.path / "checkpoints").iterdir()} == {
            path.name for path in big_run.steps()
        }
    assert 0 < cut_short < n_kills
