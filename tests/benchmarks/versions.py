"""Two versions of heed on the same commands, in turn: processor time of each, its ratio, and whether outputs are equal.

    python tests/benchmarks/versions.py --before BEFORE/bin/heed --after AFTER/bin/heed

Each command runs with one thread, and what counts is the processor time that it took, user and system, so that other
programs disturb little. Training is measured by the difference between a longer and a shorter run, so what prepares
it does not count. The later version is measured as it comes, and once more (`as before`) without what only it does:
without repair, and with beams that are not pruned. A ratio above 1 says that the later version takes less time. The
last line is JSON.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
TRANSLATE = ["translate", "--threads", "1"]
AS_BEFORE = ["--no-repair", "--beam-threshold", "off"]
TEXT = "ROMEO:"
# Modules are compiled once, as those of an installed package are.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    """Measure all commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the earlier heed's program")
    parser.add_argument("--after", required=True, help="the later heed's program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=300, help="of the test set that are translated")
    parser.add_argument("--only", nargs="*", help="names of commands; all if none")
    asked = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        lines = (DATA / "tatoeba.test.en").read_text("utf-8").splitlines(keepends=True)[: asked.lines]
        (work / "in").write_text("".join(lines), "utf-8")
        for name, measured in commands(work).items():
            if not asked.only or name in asked.only:
                found[name] = compared([asked.before, asked.after], measured, asked.rounds)
                print(f"{name:<24}{json.dumps(found[name])}", flush=True)
    print(json.dumps(found))


Measured = Callable[[str, bool], tuple[float, bytes]]  # seconds and output of a program, which is the later one or not


def commands(work: Path) -> dict[str, Measured]:
    """What is measured."""
    source = [*TRANSLATE, "-i", str(work / "in")]
    plain = {
        "help": (["--help"], []),
        "start": ([*TRANSLATE, "-i", str(work / "one")], []),
        "greedy": ([*source, "--beam-size", "1"], []),
        "greedy as before": ([*source, "--beam-size", "1"], AS_BEFORE),
        "beam 4": (source, []),
        "beam 4 as before": (source, AS_BEFORE),
        "stream": (["generate", TEXT, "--max-tokens", "300", "--seed", "1", "--threads", "1"], []),
        "generate": (["generate", "--batch", "-i", str(work / "prompts"), "--max-tokens", "60", "--threads", "1"], []),
    }
    (work / "one").write_text("A man in a blue shirt is standing on a ladder.\n", "utf-8")
    (work / "prompts").write_text(f"{TEXT}\n" * 24, "utf-8")
    found: dict[str, Measured] = {name: simple(*words) for name, words in plain.items()}
    pairs = ["--src", str(DATA / "tatoeba.test.en"), "--tgt", str(DATA / "tatoeba.test.de")]
    text = ["--text", str(DATA / "tatoeba.test.en"), "--preset", "gpt-tiny"]
    found["train"] = training(work, [*pairs, "--preset", "small", "--vocab-size", "2000", "--batch-tokens", "1000"])
    found["train of text"] = training(work, [*text, "--vocab-size", "1000", "--batch-tokens", "2000"])
    return found


def simple(words: list[str], later: list[str]) -> Measured:
    """The whole command, with further options of the later version."""
    return lambda program, is_later: run([program, *words, *(later if is_later else [])])


def training(work: Path, words: list[str]) -> Measured:
    """Ten steps of training: those of a run of twelve without those of a run of two."""

    def measured(program: str, is_later: bool) -> tuple[float, bytes]:
        seconds = []
        for steps in (2, 12):
            with tempfile.TemporaryDirectory(dir=work) as run_path:
                asked = [*words, "--steps", str(steps), "--valid-every", "1000000", "--precision", "float32"]
                machine = ["--device", "cpu", "--threads", "1", "-o", str(Path(run_path) / "run")]
                seconds.append(run([program, "train", *asked, *machine])[0])
        return seconds[1] - seconds[0], b""

    return measured


def run(command: list[str]) -> tuple[float, bytes]:
    """Processor time of a command, in seconds, and its output."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime, done.stdout


def compared(programs: list[str], measured: Measured, rounds: int) -> dict[str, object]:
    """Medians of both programs, the median ratio of their rounds, and whether they write the same."""
    seconds, outputs = [], []
    for _ in range(rounds):
        done = [measured(program, place > 0) for place, program in enumerate(programs)]
        seconds.append([each for each, _ in done])
        outputs = [output for _, output in done]
    before, after = (round(statistics.median(side), 3) for side in zip(*seconds, strict=True))
    ratio = round(statistics.median(a / b for a, b in seconds), 3)
    return {"before_s": before, "after_s": after, "ratio": ratio, "equal": outputs[0] == outputs[1]}


if __name__ == "__main__":
    main()
