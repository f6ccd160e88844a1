"""Large jobs on a Ray cluster of several nodes on this machine: speed beside the plain command, and faults.

    python tests/benchmarks/ray_jobs.py --work DIR
    python tests/benchmarks/ray_jobs.py --work DIR --model DIR --input FILE --lines 200000 --files 40 --rounds 10

Writes the lines of the input, repeated, into files, and translates them with the plain command and with --ray local.
With --rounds instead on a cluster of several nodes, again and again: with a killed worker, a removed node, and a killed
and restarted driver, each at a random moment. Every output must have the bytes of the plain command's.
Prints a JSON line last.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cluster_utils

HEED = Path(sys.executable).with_name("heed")
START: Any = cluster_utils.Cluster  # which has no types


class Bench:
    """The jobs of a run of this script."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._random = options, random.Random(options.seed)
        self.source, self.plain_output, self.output = (options.work / name for name in ("in", "plain", "out"))
        self._cluster: Any = None
        self._nodes: list[Any] = []

    def make_files(self) -> None:
        shutil.rmtree(self._options.work, ignore_errors=True)
        self.source.mkdir(parents=True)
        lines = itertools.cycle(self._options.input.read_text("utf-8").splitlines())
        n = self._options.lines // self._options.files
        for number in range(self._options.files):
            text = "".join(f"{line}\n" for line in itertools.islice(lines, n))
            (self.source / f"{number:03}.txt").write_text(text, "utf-8")

    def command(self, output: Path, *options: str) -> list[str]:
        model = ["-m", str(self._options.model)] if self._options.model else []
        search = ["--beam-size", str(self._options.beam_size)]
        return [str(HEED), "translate", "-q", *model, *search, "-i", f"{self.source}/*", "-o", f"{output}/", *options]

    def plain(self, threads: int, n_processes: int = 1) -> float:
        """Seconds of plain commands side by side, each with a part of the files."""
        shutil.rmtree(self.plain_output, ignore_errors=True)
        self.plain_output.mkdir()
        begin = time.monotonic()
        files = sorted(map(str, self.source.iterdir()))
        started = []
        for number in range(n_processes):
            command = [*self.command(self.plain_output, "--threads", str(threads)), *files[number::n_processes]]
            command[command.index("-i") : command.index("-i") + 2] = []
            started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        if any(process.wait() for process in started):
            raise SystemExit("a plain command failed")
        return time.monotonic() - begin

    def rate(self, output: Path) -> float:
        """Lines per second from the first file's end to the last one's: without the start."""
        ends = sorted(path.stat().st_mtime for path in output.iterdir())
        return self._options.lines / len(ends) * (len(ends) - 1) / (ends[-1] - ends[0])

    def start_cluster(self) -> None:
        self._cluster = START(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(self._options.nodes):
            self._add_node()

    def _add_node(self) -> None:
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    @property
    def address(self) -> str:
        """The cluster's."""
        return str(self._cluster.address)

    def stop_cluster(self) -> None:
        if self._cluster:
            self._cluster.shutdown()

    def job(self, address: str, fault: Callable[[subprocess.Popen[bytes]], None] | None = None) -> float:
        """Seconds of a job on a cluster, which is started again until it is complete.

        Raises:
            SystemExit: Its output differs from the plain command's.
        """
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir()
        begin = time.monotonic()
        while True:
            with subprocess.Popen(self.command(self.output, "--ray", address), stderr=subprocess.DEVNULL) as driver:
                if fault:
                    while driver.poll() is None and not any(self.output.iterdir()):
                        time.sleep(0.01)
                    fault(driver)
                    fault = None
            if driver.returncode == 0:
                break
            if driver.returncode != -signal.SIGKILL:
                raise SystemExit(f"the job ended with {driver.returncode}")
        seconds = time.monotonic() - begin
        if n_lines := self.n_different():
            raise SystemExit(f"{n_lines} lines differ")
        return seconds

    def n_different(self) -> int:
        """Lines of the outputs that differ.

        Raises:
            SystemExit: Files are missing, or there are others.
        """
        names = sorted(path.name for path in self.source.iterdir())
        if sorted(path.name for path in self.output.iterdir()) != names:
            raise SystemExit("files are missing, or too many")
        pairs = (((self.output / name).read_bytes(), (self.plain_output / name).read_bytes()) for name in names)
        lines = (zip(one.split(b"\n"), other.split(b"\n"), strict=True) for one, other in pairs if one != other)
        return sum(a != b for each in lines for a, b in each)

    def faults(self, seconds: float) -> dict[str, int]:
        """Jobs with a fault at a random moment, by the kind of fault; all of their outputs were equal."""

        def later(fault: Callable[[subprocess.Popen[bytes]], None]) -> Callable[[subprocess.Popen[bytes]], None]:
            def wait(driver: subprocess.Popen[bytes]) -> None:
                n_files = self._random.randrange(self._options.files)
                while driver.poll() is None and len(list(self.output.glob("*.txt"))) < n_files:
                    time.sleep(0.01)
                time.sleep(self._random.uniform(0, seconds / self._options.files))
                if driver.poll() is None:
                    fault(driver)
                    done[kind] += 1

            return wait

        kinds = {"worker killed": self._kill_worker, "node removed": self._remove_node, "driver killed": _kill}
        done = dict.fromkeys(kinds, 0)
        while min(done.values()) < self._options.rounds:  # a job may end before its fault
            kind = min(done, key=lambda each: done[each])
            print(kind, round(self.job(self.address, later(kinds[kind])), 1), file=sys.stderr, flush=True)
            while len(self._nodes) < self._options.nodes:
                self._add_node()
        return done

    def _kill_worker(self, _: subprocess.Popen[bytes]) -> None:
        if found := _workers():
            os.kill(self._random.choice(found), signal.SIGKILL)

    def _remove_node(self, _: subprocess.Popen[bytes]) -> None:
        node = self._nodes.pop(self._random.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)


def _kill(driver: subprocess.Popen[bytes]) -> None:
    driver.kill()


def _workers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::Workplace"):
                found.append(int(path.parent.name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--input", type=Path, default=Path(__file__).parents[1] / "data/tatoeba.test.en")
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--beam-size", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    bench = Bench(options := parser.parse_args())
    bench.make_files()
    figures: dict[str, Any] = {"lines": options.lines, "files": options.files}
    if options.rounds:
        figures["plain, 1 thread"] = bench.plain(threads=1)
        try:
            bench.start_cluster()
            seconds = bench.job(bench.address)
            figures[f"cluster of {options.nodes}"] = seconds
            figures |= bench.faults(seconds)
        finally:
            bench.stop_cluster()
    else:
        figures["plain, 2 threads"] = bench.plain(threads=2)
        figures["plain, 2 threads, lines/s"] = bench.rate(bench.plain_output)
        figures["plain, 2 processes"] = bench.plain(threads=1, n_processes=2)
        figures["plain, 2 processes, lines/s"] = bench.rate(bench.plain_output)
        figures["ray local"] = bench.job("local")
        figures["ray local, lines/s"] = bench.rate(bench.output)
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
