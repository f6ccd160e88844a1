"""Training speed by precision: the same batches in float32 and in bfloat16, in turn, in one process.

    python tests/benchmarks/train_speed.py --src train.en --tgt train.de --preset small

Prints target tokens a second of each round, then the medians and their ratio; the last line is JSON.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from heed.models.config import TRANSLATION_PRESETS, preset
from heed.models.processors import available_cores
from heed.transformer.config import TranslationConfig
from heed.transformer.preparation import batches, new_run
from heed.transformer.trainer import Trainer, choose_device

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", required=True)
    parser.add_argument("--tgt", required=True)
    parser.add_argument("--preset", choices=TRANSLATION_PRESETS, default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="steps of each precision in a round")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tables = preset(arguments.preset)
    config = TranslationConfig(src=(arguments.src,), tgt=(arguments.tgt,), steps=1)
    asked = {key: value for key, value in tables["train"].items() if key != "average"}
    config = dataclasses.replace(config, **asked)  # type: ignore[arg-type]
    speeds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    with tempfile.TemporaryDirectory() as directory:
        trainers = {}
        for name in PRECISIONS:
            run, corpus = new_run(Path(directory) / name, tables["model"], dataclasses.replace(config, precision=name))
            trainers[name] = Trainer(run, batches(run, corpus), choose_device(arguments.device), [])
        chosen = list(islice(trainers["float32"].batches.epoch(0, seed=1), (arguments.rounds + 1) * arguments.steps))
        for number in range(arguments.rounds + 1):
            some = chosen[number * arguments.steps : (number + 1) * arguments.steps]
            for name, trainer in trainers.items():
                begin = time.perf_counter()
                for batch in some:
                    trainer.step(batch)
                speed = sum(batch.n_tokens for batch in some) / (time.perf_counter() - begin)
                if number > 0:  # the first round warms up
                    speeds[name].append(speed)
                    print(f"round {number}  {name:9} {speed:9,.0f} tokens/s")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratio = medians["bfloat16"] / medians["float32"]
    print(f"{arguments.preset}, {arguments.threads} threads: bfloat16 trains {ratio:.2f} times as fast")
    print(json.dumps({**{name: round(value) for name, value in medians.items()}, "ratio": round(ratio, 2)}))


if __name__ == "__main__":
    main()
