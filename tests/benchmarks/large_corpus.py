"""Memory and waiting with corpora of any size: a million pairs and twenty million, made of drawn words.

    python tests/benchmarks/large_corpus.py --work runs/large
    python tests/benchmarks/large_corpus.py --work runs/large --pairs 100000 --pairs 400000 --steps 1000

For each size: pairs of about ten words a side, drawn by Zipf's law, are written; the installed `heed train` learns a
vocabulary, tokenizes, and makes a step with a tiny network; a second run with the same `--cache` trains it for some
thousand steps, and then `--resume` opens it again. Last, a process goes through all batches of an epoch without a
network, then to its last batch at once. Memory is sampled all along: what is resident (VmRSS), and of that the part
behind which no file stands (RssAnon). A run is ready when its log says that it starts: the first step follows. The last
line is JSON. The text (3 GB for twenty million pairs) and the runs are deleted in the end. Linux only.
"""

import argparse
import dataclasses
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HEED = str(Path(sys.executable).with_name("heed"))
SEED = 2017
N_WORDS = 50_000  # of each language
CHUNK = 100_000  # pairs that are written together
EVERY = 0.2  # seconds between two samples of the memory
SETTINGS = ["--preset", "tiny", "--n-layers", "1", "--d-model", "32", "--d-ff", "64", "--n-heads", "2"]
SETTINGS += ["--vocab-size", "4000", "--batch-tokens", "1024", "--valid-every", "1000000", "--device", "cpu"]

GO_THROUGH = """
import sys, time
from pathlib import Path
from heed.transformer.data.preparation.translation_run import batches, load_corpus
from heed.transformer.training.runs.run import TranslationRun

run = TranslationRun.open(Path(sys.argv[1]))
every = batches(run, load_corpus(run))
begin = time.perf_counter()
number = -1
for number, batch in enumerate(every.epoch(0, 1)):
    if number % 1000 == 0:
        print(number, batch.share, flush=True)
whole = time.perf_counter() - begin
begin = time.perf_counter()
(last,) = every.epoch(0, 1, start=number)
assert last.share == 1.0
print(number + 1, whole, time.perf_counter() - begin, flush=True)
"""


@dataclasses.dataclass(frozen=True)
class Sample:
    """The memory of a process at a time, in MiB."""

    seconds: float  # since it began
    begun: bool  # whether its run has
    step: int  # its run's last in the log
    resident: float
    anonymous: float  # the part that is no page of a file


def write_pairs(n_pairs: int, src: Path, tgt: Path) -> None:
    """Write sentences, and what becomes of them word by word."""
    random = np.random.default_rng(SEED)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    languages = [
        ["".join(random.choice(letters, length)) for length in random.integers(2, 11, N_WORDS)] for _ in range(2)
    ]
    odds = 1 / np.arange(1, N_WORDS + 1)
    heights = odds.cumsum() / odds.sum()
    with src.open("w", encoding="utf-8") as src_file, tgt.open("w", encoding="utf-8") as tgt_file:
        for start in range(0, n_pairs, CHUNK):
            lengths = random.integers(5, 16, min(CHUNK, n_pairs - start))
            words = np.searchsorted(heights, random.random(int(lengths.sum()))).tolist()
            ends = lengths.cumsum().tolist()
            for begin, end in itertools.pairwise([0, *ends]):
                for file, language in zip((src_file, tgt_file), languages, strict=True):
                    file.write(" ".join([language[word] for word in words[begin:end]]) + "\n")


def watch(command: list[str], run: Path | None = None) -> tuple[list[Sample], list[str]]:
    """Run a command, which may train a run: samples of its memory, and what it wrote."""
    begin, samples = time.perf_counter(), list[Sample]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = dict(re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB$", status.read_text("utf-8"), re.MULTILINE))
            if found:
                sizes = int(found["VmRSS"]) / 1024, int(found["RssAnon"]) / 1024
                samples.append(Sample(time.perf_counter() - begin, *events(run), *sizes))
            time.sleep(EVERY)
        samples.append(dataclasses.replace(samples[-1], step=events(run)[1]))  # the last steps come between two looks
        assert process.stdout
        written = process.stdout.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return samples, written


def events(run: Path | None) -> tuple[bool, int]:
    """Whether a run has begun, and the last step in its log."""
    log = run / "log.jsonl" if run else None
    records = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log and log.exists() else []
    steps = [record["step"] for record in records if record["event"] == "step"]
    return bool(records), max(steps, default=0)


def seconds_to(step: int, samples: list[Sample]) -> float:
    """When a run was at a step; at 0 it is ready for the first."""
    return round(next(sample.seconds for sample in samples if sample.begun and sample.step >= step), 1)


def growth(samples: list[Sample], name: str) -> dict[str, float]:
    """The mean memory of the first and of the last tenth of samples, in MiB, and what the last is to the first."""
    size, found = max(1, len(samples) // 10), dict[str, float]()
    for kind in ("resident", "anonymous"):
        first, last = (
            statistics.mean(getattr(each, kind) for each in part) for part in (samples[:size], samples[-size:])
        )
        sizes = {"first": round(first, 1), "last": round(last, 1), "ratio": round(last / first, 4)}
        found |= {f"{name}_{kind}_{place}": value for place, value in sizes.items()}
    return found


def measure(n_pairs: int, work: Path, steps: int) -> Iterator[tuple[str, float]]:
    """The figures of a corpus of a size."""
    work.mkdir(parents=True)
    src, tgt, cache = work / "src", work / "tgt", work / "cache"
    write_pairs(n_pairs, src, tgt)
    valid = work / "valid.src", work / "valid.tgt"
    write_pairs(10, *valid)  # few, for translating them takes longer than training does
    text = ["--src", str(src), "--tgt", str(tgt), "--valid-src", str(valid[0]), "--valid-tgt", str(valid[1])]
    text += ["--cache", str(cache), *SETTINGS]
    run, again = work / "run", work / "again"
    samples, _ = watch([HEED, "train", *text, "--steps", "1", "-o", str(run)], run)
    yield "seconds_to_first_step", seconds_to(0, samples)
    preparing = [sample for sample in samples if not sample.begun]
    yield "preparing_resident_max", round(max(sample.resident for sample in preparing), 1)
    yield "preparing_anonymous_max", round(max(sample.anonymous for sample in preparing), 1)
    training = ["--steps", str(steps), "--threads", "1"]  # a network so small gains nothing from threads
    samples, _ = watch([HEED, "train", *text, *training, "-o", str(again)], again)
    yield "seconds_to_first_step_by_cache", seconds_to(0, samples)
    # The earlier steps fill what later ones use again: memory for batches of all sizes, and their compiled products.
    yield from growth([sample for sample in samples if steps // 2 <= sample.step < steps], "training").items()
    samples, _ = watch([HEED, "train", "--resume", str(again), "--steps", str(steps + 50), "--threads", "1"], again)
    yield "seconds_to_go_on_50_steps", seconds_to(steps + 50, samples)
    samples, written = watch([sys.executable, "-c", GO_THROUGH, str(run)])
    yield from growth(samples[len(samples) // 10 :], "epoch").items()
    n_batches, whole, last = map(float, written[-1].split())
    yield "batches", n_batches
    yield "seconds_of_all_batches", round(whole, 1)
    yield "seconds_to_last_batch", round(last, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="directory to be made")
    parser.add_argument("--pairs", type=int, action="append", help="size of a corpus; repeat for more")
    parser.add_argument("--steps", type=int, default=6000)
    arguments = parser.parse_args()
    figures = {}
    for n_pairs in arguments.pairs or [1_000_000, 20_000_000]:
        work = arguments.work / str(n_pairs)
        try:
            found = {}
            for name, value in measure(n_pairs, work, arguments.steps):
                print(f"{n_pairs:>12,} pairs  {name:32} {value:>12,}", flush=True)
                found[name] = value
        finally:
            shutil.rmtree(work, ignore_errors=True)
        figures[str(n_pairs)] = found
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
