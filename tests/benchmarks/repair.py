"""What repair costs: processor time of a translator that repairs beside one that does not, in turn.

    python tests/benchmarks/repair.py [--model MODEL] [--lines 300 1000] [--rounds 5]

The lines are the first ones of tests/data, translated by one thread, at once. `detection` is what is spent on the lines
that need no repair: finding that nothing is lost. The last line is JSON.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

from heed.models.bundle.catalog import find
from heed.models.tasks.translation.losses import Losses
from heed.models.tasks.translation.translator import Translator

TEXT = Path(__file__).parents[1] / "data/tatoeba.test.en"


def seconds(translator: Translator, lines: list[str], beam_size: int) -> float:
    """Processor time of the translation of some lines."""
    config, began = dataclasses.replace(translator.config, beam_size=beam_size), time.process_time()
    translator.translate(lines, config)
    return time.process_time() - began


def detection(translator: Translator, lines: list[str]) -> float:
    """Processor time of a look at translations that are as they are."""
    pair = (translator._src, translator._tgt)
    losses, texts = Losses(*pair, ("en", "de")), [found.text for found in translator.translate(lines)]
    began = time.process_time()
    for line, text in zip(lines, texts, strict=True):
        losses.find(line, text)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="en-de")
    parser.add_argument("--lines", type=int, nargs="*", default=[300, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    text = TEXT.read_text("utf-8").splitlines()
    repairing, plain = (Translator.load(find(asked.model), threads=1, repair=repair) for repair in (True, False))
    found: dict[str, dict[str, float]] = {}
    for translator in (repairing, plain):
        translator.translate(text[:300])
    for n in asked.lines:
        found[f"detection, {n} lines"] = {"seconds": round(detection(plain, text[:n]), 4)}
        for beam_size in (1, 4):
            rounds = [[seconds(each, text[:n], beam_size) for each in (repairing, plain)] for _ in range(asked.rounds)]
            with_it, without = (statistics.median(side) for side in zip(*rounds, strict=True))
            found[f"beam {beam_size}, {n} lines"] = {
                "seconds": round(with_it, 3),
                "without": round(without, 3),
                "ratio": round(statistics.median(a / b for a, b in rounds), 3),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
