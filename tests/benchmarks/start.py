"""One sentence from process start to end: heed against a CTranslate2 script, the same weights in int8, in turn.

    python tests/benchmarks/start.py --work runs/speed --sentence "A man sleeps in a green room."

WORK holds what translate_speed.py made: the model for heed and the same one for CTranslate2. The peer is a script that
imports ctranslate2 and sentencepiece alone, loads both, and translates its stdin with the same beam. Both get
`--threads` threads, by default one. Measured are the seconds from a process's start to the first byte of its output and
to its end, and its processor time; first warm, then cold.

Cold means that before each start the system is asked to drop what it keeps in memory of the models and of all
installed packages. That needs no root, but it is a best effort: pages that another process has mapped stay, so stop
what else uses these packages. The MiB that the processes then read from the disk show how far it went. Python itself
stays warm. The last line is JSON. Needs the `bench` extra, and Linux for the cold start.
"""

import argparse
import dataclasses
import difflib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HEED = str(Path(sys.executable).with_name("heed"))
ALIKE = 0.5  # least similarity of the two translations: int8 and the beam's end differ a little between the two
PEER = """\
import sys

import ctranslate2
import sentencepiece

directory, tokenizer, threads = sys.argv[1:]
pieces = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
translator = ctranslate2.Translator(directory, compute_type="int8", inter_threads=1, intra_threads=int(threads))
sources = [[*line, "</s>"] for line in pieces.encode(sys.stdin.read().splitlines(), out_type=str)]
for found in translator.translate_batch(sources, beam_size=4, length_penalty=0.6, max_decoding_length=256):
    print(pieces.decode(found.hypotheses[0]))
"""


@dataclasses.dataclass(frozen=True)
class Timing:
    """What a process took."""

    first_byte: float  # seconds from its start to the first byte of its output
    seconds: float  # and to its end
    processor: float  # seconds of processor time
    read: float  # MiB read from the disk


def commands(work: Path, aside: Path, threads: int) -> dict[str, list[str]]:
    """The command line of each side; the peer's script is written aside."""
    peer = aside / "peer.py"
    peer.write_text(PEER, "utf-8")
    bundle = work / "heed"
    heed = [HEED, "translate", "-m", str(bundle), "--beam-size", "4", "--threads", str(threads)]
    arguments = [str(work / "ctranslate2"), str(bundle / "tokenizer.model"), str(threads)]
    return {"heed": heed, "peer": [sys.executable, str(peer), *arguments]}


def run(command: list[str], sentence: str) -> tuple[str, Timing]:
    """Run a process from start to end: its output, and what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{sentence}\n".encode())
        process.stdin.close()
        output = process.stdout.read(1)
        first_byte = time.perf_counter() - begin
        output += process.stdout.read()
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output.decode(), Timing(first_byte, seconds, processor, (after.ru_inblock - before.ru_inblock) / 2048)


def packages() -> list[Path]:
    """The files of all installed packages."""
    folders = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    return [file for folder in folders for file in folder.rglob("*") if file.is_file()]


def forget(files: list[Path]) -> None:
    """Ask the system to drop what it keeps of files in memory."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def rounds(
    sides: dict[str, list[str]], sentence: str, n_rounds: int, before: Callable[[], None] | None = None
) -> dict[str, Timing]:
    """The medians of each side over some rounds, in turn; `before` is called before each start."""
    timings: dict[str, list[Timing]] = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, command in sides.items():
            if before:
                before()
            timings[name].append(run(command, sentence)[1])
    return {name: median(found) for name, found in timings.items()}


def median(timings: list[Timing]) -> Timing:
    """The median of each figure."""
    names = [field.name for field in dataclasses.fields(Timing)]
    return Timing(**{name: statistics.median(getattr(timing, name) for timing in timings) for name in names})


def compare_outputs(sides: dict[str, list[str]], sentence: str) -> None:
    """Run each side once, which also warms up, and stop if they do not translate alike."""
    outputs = {name: run(command, sentence)[0] for name, command in sides.items()}
    for name, output in outputs.items():
        print(f"{name}: {output.rstrip()}")
    if difflib.SequenceMatcher(None, outputs["heed"], outputs["peer"], autojunk=False).ratio() < ALIKE:
        raise SystemExit("the translations differ: the sides do not have the same weights, or the run is untrained")


def report(title: str, found: dict[str, Timing]) -> None:
    """Print the medians of each side, and heed's seconds for one of the peer's."""
    print(f"\n{title:8}{'first byte':>12}{'end':>10}{'processor':>12}{'read':>14}   medians")
    for name, timing in found.items():
        times = f"{timing.first_byte:10.3f} s{timing.seconds:8.3f} s{timing.processor:10.3f} s"
        print(f"{name:8}{times}{timing.read:10.1f} MiB")
    print(f"ratio{found['heed'].first_byte / found['peer'].first_byte:13.2f}{ratio(found):10.2f}")


def ratio(found: dict[str, Timing]) -> float:
    """heed's seconds from start to end for one of the peer's."""
    return found["heed"].seconds / found["peer"].seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="as of translate_speed.py")
    parser.add_argument("--sentence", default="A man in a blue shirt is standing on a ladder.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cold-rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of both sides")
    arguments = parser.parse_args()
    work: Path = arguments.work
    with tempfile.TemporaryDirectory() as directory:
        sides = commands(work, Path(directory), arguments.threads)
        compare_outputs(sides, arguments.sentence)
        warm = rounds(sides | {"--help": [HEED, "--help"]}, arguments.sentence, arguments.rounds)
        report("warm", warm)
        os.sync()  # what is not yet on the disk is not dropped
        models = (work / name for name in ("heed", "ctranslate2"))
        files = [*packages(), *(file for model in models for file in model.iterdir())]
        cold = rounds(sides, arguments.sentence, arguments.cold_rounds, lambda: forget(files))
        report("cold", cold)
    result = {"heed_seconds": warm["heed"].seconds, "peer_seconds": warm["peer"].seconds, "ratio": ratio(warm)}
    result |= {"heed_cold_seconds": cold["heed"].seconds, "peer_cold_seconds": cold["peer"].seconds}
    result |= {"cold_ratio": ratio(cold), "help_seconds": warm["--help"].seconds}
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
