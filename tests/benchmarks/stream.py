"""Memory and speed over a long stream: a million short lines through the installed `heed translate`.

    python tests/benchmarks/stream.py
    python tests/benchmarks/stream.py -m en-de --text tests/data/tatoeba.test.en --lines 100000

Without -m it first trains and exports a tiny network that copies digits, which takes some seconds and the `train`
extra. A thread feeds the lines while the output is read; that as many lines come out as went in is checked. The memory
of the translating process is sampled all along: what is resident (VmRSS), and of that the part behind which no file
stands (RssAnon), for the system may drop pages of files and so hide a growth. The ratios are those of the means over
the last and the first tenth of the lines; the first begins with the first line that comes out. The last line is JSON.
Linux only.
"""

import argparse
import dataclasses
import itertools
import json
import os
import random
import re
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

HEED = str(Path(sys.executable).with_name("heed"))
EVERY = 0.02  # seconds between two samples of the memory
TENTHS = 10
LEAST = 50_000  # lines: heed sorts and translates 2,048 together, and each tenth must see some of these windows
SEED = 2017


@dataclasses.dataclass(frozen=True)
class Sample:
    """The memory of the process at a time, in MiB."""

    n_out: int  # lines that had come out
    resident: float
    anonymous: float  # the part that is no page of a file


def digit_lines() -> Iterator[str]:
    """Lines of 2 to 6 digits with spaces between, without end."""
    chosen = random.Random(SEED)
    while True:
        yield " ".join(chosen.choices("0123456789", k=chosen.randint(2, 6)))


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a file, drawn again and again."""
    lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    chosen = random.Random(SEED)
    while True:
        yield chosen.choice(lines)


def make_model(work: Path) -> Path:
    """Train a network that copies digits, until its translations end where they should, and export it in int8."""
    text, run, bundle = work / "digits", work / "run", work / "bundle"
    text.write_text("".join(f"{line}\n" for line in itertools.islice(digit_lines(), 2000)), "utf-8")
    train = [HEED, "train", "--src", str(text), "--tgt", str(text), "-o", str(run)]
    train += ["--preset", "tiny", "--d-model", "32", "--d-ff", "64", "--n-heads", "2", "--norm", "pre"]
    # 4 special pieces, the space, 10 digits, and 10 digits with a space.
    train += ["--vocab-size", "15", "--dropout", "0", "--batch-tokens", "512", "--warmup", "50"]
    subprocess.run([*train, "--steps", "400", "--valid-every", "400", "--device", "cpu"], check=True)
    subprocess.run([HEED, "export", str(run), "-o", str(bundle), "--precision", "int8"], check=True)
    return bundle


def feed(stream: IO[bytes], lines: Iterable[str]) -> None:
    """Write lines to a process and close its input."""
    try:
        with stream:
            for line in lines:
                stream.write(f"{line}\n".encode())
    except BrokenPipeError:
        pass  # the process has ended early; its exit status says so


def memory(pid: int, n_out: int) -> Sample | None:
    """What the system says of a process's memory; nothing, once the process has ended."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    resident, anonymous = (re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE) for name in ("VmRSS", "RssAnon"))
    return Sample(n_out, int(resident[1]) / 1024, int(anonymous[1]) / 1024) if resident and anonymous else None


def watch(process: subprocess.Popen[bytes]) -> tuple[int, list[Sample]]:
    """Read a process's output to its end: the number of lines, and the samples taken on the way."""
    assert process.stdout
    output, n_out, due, samples = process.stdout.fileno(), 0, 0.0, []
    while True:
        ready, _, _ = select.select([output], [], [], EVERY)
        if time.perf_counter() >= due:
            samples.append(memory(process.pid, n_out))
            due = time.perf_counter() + EVERY
        if ready:
            chunk = os.read(output, 1 << 16)
            if not chunk:
                return n_out, [sample for sample in samples if sample]
            n_out += chunk.count(b"\n")


def stream(command: list[str], lines: Iterable[str]) -> tuple[float, int, list[Sample]]:
    """Translate lines by a command: seconds from its start to its end, lines that came out, and its memory."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        feeder = threading.Thread(target=feed, args=(process.stdin, lines))
        process.stdin = None  # the thread closes it
        feeder.start()
        n_out, samples = watch(process)
        feeder.join()
    if process.returncode:
        raise SystemExit(f"heed translate ended with {process.returncode}")
    return time.perf_counter() - begin, n_out, samples


def tenths(samples: list[Sample], n_lines: int) -> list[list[Sample]]:
    """The samples by the tenth of the lines that was coming out."""
    found: list[list[Sample]] = [[] for _ in range(TENTHS)]
    for sample in samples:
        if 0 < sample.n_out < n_lines:  # before the first line it starts, after the last it ends
            found[sample.n_out * TENTHS // n_lines].append(sample)
    return found


def report(parts: list[list[Sample]]) -> dict[str, float]:
    """Print the memory of each tenth; returns what the last is to the first."""
    print(f"\n{'tenth':>5}{'resident':>12}{'at most':>12}{'no file':>12}   MiB, means of the samples")
    means = []
    for number, part in enumerate(parts, start=1):
        resident, anonymous = (
            statistics.mean(getattr(sample, name) for sample in part) for name in ("resident", "anonymous")
        )
        most = max(sample.resident for sample in part)
        means.append((resident, anonymous))
        print(f"{number:5}{resident:12.2f}{most:12.2f}{anonymous:12.2f}   {len(part)}")
    (first, first_anonymous), (last, last_anonymous) = means[0], means[-1]
    result = {"rss_first_mib": round(first, 2), "rss_last_mib": round(last, 2), "rss_ratio": round(last / first, 4)}
    return result | {"anonymous_ratio": round(last_anonymous / first_anonymous, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", help="directory or name of a model; without it, one is trained")
    parser.add_argument("--text", type=Path, help="file to draw lines from; without it, they are digits")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, help="as of heed translate")
    arguments = parser.parse_args()
    if arguments.lines < LEAST:
        parser.error(f"--lines: at least {LEAST:,}, so that each tenth can be told from the next")
    with tempfile.TemporaryDirectory() as directory:
        command = [HEED, "translate", "-m", arguments.model or str(make_model(Path(directory)))]
        if arguments.threads:
            command += ["--threads", str(arguments.threads)]
        lines = text_lines(arguments.text) if arguments.text else digit_lines()
        seconds, n_out, samples = stream(command, itertools.islice(lines, arguments.lines))
    if n_out != arguments.lines:
        raise SystemExit(f"{arguments.lines:,} lines in, {n_out:,} lines out")
    result = report(tenths(samples, n_out))
    speed = n_out / seconds
    print(f"\n{n_out:,} lines in and out in {seconds:.1f} s, {speed:,.0f} lines/s")
    print(json.dumps({"lines": n_out, "lines_per_second": round(speed), **result}))


if __name__ == "__main__":
    main()
