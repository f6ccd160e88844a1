"""Several processes that train one network, started by torchrun as a user would."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from heed.models.errors import HeedError
from heed.models.spec.network import NetworkSpec
from heed.transformer.model import Transformer
from heed.transformer.training.distributed import (
    ALONE,
    Processes,
    joined,
    local_device,
    lost_ones_told,
    meeting,
    n_local,
)
from heed.transformer.training.sharding import lent, materialize, shard, spread, whole

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# A gentle learning rate: what rounding differs by then stays as small as it is, and does not grow from step to step.
N_STEPS = 30
MACHINE = ["--device", "cpu", "--threads", "1"]
SETTINGS = ["--preset", "tiny", "--d-model", "16", "--d-ff", "24", "--n-heads", "2", "--dropout", "0"]
SETTINGS += ["--vocab-size", "15", "--batch-tokens", "150", "--warmup", "200", "--precision", "float32"]
SETTINGS += ["--steps", str(N_STEPS), "--valid-every", str(N_STEPS // 2), *MACHINE]


@pytest.fixture(scope="module", autouse=True)
def cores() -> Iterator[None]:
    """All of them, and not the test process's alone: processes that train together poll for each other's messages."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    yield
    os.sched_setaffinity(0, own)


@pytest.fixture
def text(
    digit_lines: Callable[[int, int], list[str]], write_lines: Callable[[str, list[str]], str], tmp_path: Path
) -> list[str]:
    """Pairs, of which one alone is as long as a batch: the second process then has none."""
    lines = [*digit_lines(300, 2), " ".join("123456789" * 12)]
    return ["--src", write_lines("src", lines), "--tgt", write_lines("tgt", [line[::-1] for line in lines])]


def train(program: Path, run: Path, *arguments: str) -> str:
    """Trains in two processes; what they said on stderr."""
    command = [*TORCHRUN, "--no-python", str(program), "train", *arguments, "-o", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def weights(run: Path, step: int = N_STEPS) -> dict[str, torch.Tensor]:
    return load_file(run / f"checkpoints/step-{step:08d}/model.safetensors")


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return [record["loss"] for record in records if record["event"] != "start"]


def test_two_processes_train_as_one(
    program: Path, heed: Callable[..., Result], text: list[str], tmp_path: Path
) -> None:
    """The same batches, whatever the number of processes, of parts of a batch, and of places for the weights.

    What two began, each with a part of the weights, one goes on with.
    """
    for name, parts in (("one", 1), ("parts", 3)):
        assert heed("train", *text, *SETTINGS, "--accumulate", parts, "-o", tmp_path / name).exit_code == 0
    said = train(program, tmp_path / "two", *text, *SETTINGS)
    assert said.count("Done. Export it with") == 1  # one speaks for all
    half = N_STEPS // 2
    train(program, tmp_path / "sharded", *text, *SETTINGS, "--steps", str(half), "--sharded")
    assert_close(weights(tmp_path / "sharded", half), weights(tmp_path / "one", half), rtol=0, atol=1e-5)
    assert heed("train", "--resume", tmp_path / "sharded", "--steps", N_STEPS, *MACHINE).exit_code == 0
    for name in ("parts", "two", "sharded"):
        assert_close(weights(tmp_path / name), weights(tmp_path / "one"), rtol=0, atol=1e-5)
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


def second_of(launcher: int) -> int:
    """The process that torchrun has started as the second of those that train."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    (found,) = [child for child in children if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes()]
    return int(found)


@pytest.mark.slow
def test_a_killed_process_starts_again_and_the_run_goes_on(program: Path, text: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [*SETTINGS, "--steps", "400", "--valid-every", "50"]
    train(program, tmp_path / "whole", *text, *settings)
    command = [*TORCHRUN, "--max-restarts", "1", "--no-python", program, "train", "--resume", run, *text, *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment) as process:
        checkpoint = run / "checkpoints/step-00000100"
        give_up = time.monotonic() + 120
        while not checkpoint.exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.02)
        os.kill(second_of(process.pid), signal.SIGKILL)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert_close(weights(run, 400), weights(tmp_path / "whole", 400), rtol=0, atol=0)


def test_two_processes_stop_after_the_same_step(program: Path, text: list[str], tmp_path: Path) -> None:
    """A signal to torchrun reaches both, at different moments."""
    run = tmp_path / "run"
    command = [*TORCHRUN, "--no-python", program, "train", *text, *SETTINGS, "--steps", "100000", "-o", run]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment) as process:
        give_up = time.monotonic() + 120
        while not (run / "checkpoints/step-00000015").exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert f"Stopped. Continue with: heed train --resume {run}" in said
    last = max((run / "checkpoints").glob("step-*"))
    assert {file.name for file in last.iterdir()} == {"model.safetensors", "optimizer.safetensors", "progress.json"}


def test_only_processes_that_are_alive_meet() -> None:
    """torchrun's store still has the words of those that were killed; gloo sometimes waited for these for ever."""
    store, names = HashStore(), dict[int, str]()
    for rank in (1, 2):
        store.set(f"heed/word/{rank}", "of one that is gone")

    def meet(rank: int) -> None:
        time.sleep(0.1 * rank)
        names[rank] = meeting(store, rank, 3)

    threads = [threading.Thread(target=meet, args=(rank,), daemon=True) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert names.keys() == {0, 1, 2}
    assert len(set(names.values())) == 1
    assert meeting(store, 0, 1) not in names.values()


def test_a_process_that_is_gone_is_told() -> None:
    reset = RuntimeError("[pair.cc:537] Read error: Connection reset by peer\nmore of it")
    with pytest.raises(HeedError) as caught, lost_ones_told(Processes(0, 2), Path("runs/ende")):
        raise reset
    assert str(caught.value).startswith("runs/ende: lost another process ([pair.cc:537]")
    assert str(caught.value).endswith("; restart all processes with heed train --resume runs/ende")
    for processes, error in ((ALONE, reset), (Processes(0, 2), RuntimeError("shapes differ"))):
        with pytest.raises(RuntimeError, match=str(error).splitlines()[0][-8:]), lost_ones_told(processes, Path("run")):
            raise error


def test_alone_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # as other launchers set it
    with joined() as processes:
        assert processes == ALONE
    assert (n_local(), local_device("cpu")) == (1, "cpu")
    tensor = torch.ones(2)
    assert processes.told("word") == "word"
    assert processes.most([1.0, 2.0]) == [1.0, 2.0]
    assert whole(tensor) is processes.add(tensor) is spread(tensor, tensor) is tensor


def test_sharding_needs_processes(heed: Callable[..., Result], text: list[str], tmp_path: Path) -> None:
    assert heed("train", *text, *SETTINGS, "--sharded", "-o", tmp_path / "run").exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_a_sharded_network_is_made_in_parts(describe: Callable[..., NetworkSpec]) -> None:
    """It has shapes alone until each process knows its part; the weights are those of a network that is whole."""
    spec = describe()
    with torch.device("meta"):
        network = Transformer(spec)
    shard(network)
    assert all(isinstance(parameter, DTensor) and parameter.is_meta for parameter in network.parameters())
    torch.manual_seed(5)
    materialize(network, torch.device("cpu"))
    torch.manual_seed(5)
    expected = Transformer(spec)
    torch.manual_seed(5)
    expected.initialize()
    for name, parameter in network.named_parameters():
        assert torch.equal(whole(parameter), expected.get_parameter(name)), name
    others = {name: torch.ones(parameter.shape) for name, parameter in network.named_parameters()}
    with lent(network, others):
        assert all((whole(parameter) == 1).all() for parameter in network.parameters())
    for name, parameter in network.named_parameters():
        assert torch.equal(whole(parameter), expected.get_parameter(name)), name
