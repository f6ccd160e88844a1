"""Large jobs on a Ray cluster of several nodes: the bytes of one process, whatever is killed."""

import contextlib
import gzip
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from heed.cli.batch.job import Answer, Failure, Numbering
from heed.cli.batch.model_copy import ModelOrigin
from heed.cli.batch.pieces import PiecedOutput
from heed.cli.batch.runner import Sent, Unfinished
from heed.cli.batch.storage import Disk
from heed.models.errors import HeedError

ray = pytest.importorskip("ray", reason="Ray is not installed; pip install 'heed[ray]'")
pytestmark = [
    pytest.mark.xdist_group("ray"),  # one cluster for all
    pytest.mark.slow,  # a minute, and on a busy machine Ray does not start within its own limits
]
PATIENCE = 120.0  # seconds
SHORT = ("--max-length", "3", "--beam-size", "2", "--batch-size", "2")  # windows of 64 lines

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without cores, and two nodes with one each; they keep models in a cache of their own."""
    from ray import cluster_utils

    start: Any = cluster_utils.Cluster  # which has no types
    made, patch = None, pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    try:
        made = start(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            made.add_node(num_cpus=1)
    except Exception as error:  # noqa: BLE001 - Ray raises no other where the machine is too busy
        patch.undo()
        if made is not None:
            made.shutdown()
        pytest.skip(f"Ray does not start here within its own limits: {error}")
    yield made
    patch.undo()
    made.shutdown()


@pytest.fixture
def command(program: Path, bundle: Path, cluster: Any) -> list[str]:
    return [str(program), "translate", "-m", str(bundle), *SHORT, "--ray", cluster.address]


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Run:
    def start(*arguments: object) -> subprocess.CompletedProcess[str]:
        line = [str(program), *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=PATIENCE)

    return start


@pytest.fixture
def crawl(tmp_path: Path, digit_lines: Callable[[int, int], list[str]]) -> dict[str, bytes]:
    """Files of lines and of columns, some of them compressed, one empty."""
    (tmp_path / "in").mkdir()
    files = {}
    for number in range(3):
        lines = "".join(f"{line}\n" for line in digit_lines(150, number)).encode()
        files[f"{number}.txt.gz"] = gzip.compress(lines, mtime=0)
    files["3.txt"] = b"1 2\n\n3"
    files["4.txt"] = b""
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    return files


def workers() -> list[int]:
    """The processes of actors that have a model."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::Workplace"):
                found.append(int(path.parent.name))
    return found


def wait_for(there: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (found := there()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return found


def same(one: Path, other: Path) -> None:
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_a_cluster_writes_the_bytes_of_one_process(
    run: Run, command: list[str], bundle: Path, crawl: dict[str, bytes], tmp_path: Path
) -> None:
    """Scores too, for the blocks are those of one process."""
    for options in (["--json"], ["--n-best", "2"]):
        plain = run("translate", "-m", bundle, *SHORT, *options, "--threads", 1, "-i", "in/*", "-o", "plain/")
        assert plain.returncode == 0, plain.stderr
        result = run(*command[1:], *options, "-i", "in/*", "-o", "rayed/")
        assert result.returncode == 0, result.stderr
        assert "5 outputs complete: 453 lines" in result.stderr
        same(tmp_path / "plain", tmp_path / "rayed")
        for name in crawl:
            (tmp_path / "plain" / name).unlink()
            (tmp_path / "rayed" / name).unlink()


def test_a_killed_worker_and_a_killed_driver_cost_their_blocks_alone(
    run: Run, command: list[str], bundle: Path, crawl: dict[str, bytes], tmp_path: Path
) -> None:
    line = [*command, "-i", "in/*", "-o", "rayed/"]
    (tmp_path / "rayed").mkdir()
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE) as driver:
        wait_for(lambda: list((tmp_path / "rayed").glob("*.parts/*[0-9a-f]")))
        driver.kill()
    assert any((tmp_path / "rayed").glob("*.parts"))
    wait_for(lambda: not workers())  # they end with their driver
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        os.kill(wait_for(workers)[0], signal.SIGKILL)
        out, told = driver.communicate(timeout=PATIENCE)
    assert (driver.returncode, out) == (0, b""), told
    assert b"lines were done before" in told
    assert run("translate", "-m", bundle, *SHORT, "--threads", 1, "-i", "in/*", "-o", "plain/").returncode == 0
    same(tmp_path / "plain", tmp_path / "rayed")


def test_prompts_and_scores_have_the_bytes_of_one_process_and_the_model_travels(
    run: Run, cluster: Any, text_bundle: Path, crawl: dict[str, bytes], tmp_path: Path
) -> None:
    """The model is in a directory that means another one to each process."""
    (tmp_path / "model").symlink_to(text_bundle)
    there = ["--ray", cluster.address, "-m", "/proc/self/cwd/model"]
    here = ["--threads", "1", "-m", text_bundle]
    rest = ["--batch", "--seed", "3", "--max-tokens", "3"]
    for name, command in {"texts": ["generate", *rest], "scores": ["score"]}.items():
        for kind, how in {"here": here, "there": there}.items():
            result = run(*command, "-i", "in/0.txt.gz", "-o", f"{name}.{kind}", *how)
            assert result.returncode == 0, result.stderr
        assert (tmp_path / f"{name}.there").read_bytes() == (tmp_path / f"{name}.here").read_bytes()


def test_a_block_that_ends_its_worker_is_set_aside_and_the_others_are_done(
    cluster: Any, bundle: Path, tmp_path: Path
) -> None:
    from heed.cli.batch.ray_cluster import TRIES, RayCluster

    class Fragile:  # in a function: Ray sends it whole
        device, threads = "cpu", 1

        def load(self, _: Sequence[Path]) -> Callable[[list[str]], Answer]:
            def answer(lines: list[str]) -> Answer:
                if "end" in lines:
                    os._exit(1)
                if "raise" in lines:
                    raise ValueError("no such line")
                return Answer(lines, 0)

            return answer

    lists = [["a"], ["end"], ["b"], ["raise"], ["c"]]
    unfinished = Unfinished(None, PiecedOutput(str(tmp_path / "x"), Disk()))  # type: ignore[arg-type]
    blocks = [Sent(block, unfinished) for block in Numbering({}).blocks(lists, lambda _, lines: lines)]
    executor = RayCluster(cluster.address, Fragile(), [ModelOrigin.of(bundle)], cores=1, gpus=0)
    found = {sent.block.records[0]: answer for sent, answer in executor.run(blocks)}
    assert {key for key, answer in found.items() if isinstance(answer, Answer)} == {"a", "b", "c"}
    assert isinstance(found["end"], Failure)
    assert "its worker ended" in found["end"].reason
    assert isinstance(found["raise"], Failure)
    assert found["raise"].reason == f"{TRIES} times, the last time because of ValueError: no such line"
    assert executor.n_retries >= 2 * (TRIES - 1)


def test_a_large_answer_and_the_small_one_after_it_are_not_mistaken(cluster: Any, bundle: Path, tmp_path: Path) -> None:
    """A large one travels between nodes, and the next may arrive before it."""
    from heed.cli.batch.ray_cluster import RayCluster

    class Uneven:
        device, threads = "cpu", 1

        def load(self, _: Sequence[Path]) -> Callable[[list[str]], Answer]:
            return lambda lines: Answer((lines, bytes(8_000_000 * (int(lines[0]) % 2 == 0))), 0)

    unfinished = Unfinished(None, PiecedOutput(str(tmp_path / "x"), Disk()))  # type: ignore[arg-type]
    numbered = Numbering({}).blocks([[str(number)] for number in range(24)], lambda _, lines: lines)
    executor = RayCluster(cluster.address, Uneven(), [ModelOrigin.of(bundle)], cores=1, gpus=0)
    n_done = 0
    for sent, answer in executor.run([Sent(block, unfinished) for block in numbered]):
        assert isinstance(answer, Answer)
        assert answer.result[0] == sent.block.records
        n_done += 1
    assert n_done == 24


def test_a_cluster_that_does_not_answer_is_told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heed.cli.batch.ray_cluster import RayCluster

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("nobody is there\nand more")

    monkeypatch.setattr(ray, "init", refuse)
    executor = RayCluster("auto", None, [ModelOrigin.of(bundle)], cores=1, gpus=0)  # type: ignore[arg-type]
    with pytest.raises(HeedError, match=r"--ray auto: no cluster answers \(nobody is there\); start"):
        list(executor.run([None]))  # type: ignore[list-item]
