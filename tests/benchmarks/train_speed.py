"""Training speed against Joey NMT and a plain loop over `torch.nn.Transformer`: the same batches, in turn.

    python tests/benchmarks/train_speed.py --data DIR --joey VENV/bin/python

DIR holds multi30k/train.{en,de}.gz. The network is the preset `small` with tied embeddings, in float32 and in bfloat16.
Joey NMT 2.3.0 needs an environment of its own, with sentencepiece 0.2.0 and importlib_metadata 8.5.0; without --joey it
is left out. `torch` and `lean` are the loop, with PyTorch's places for dropout and with the paper's. Each trains
in a process of its own (train_steps.py), and while one makes its steps the others wait. A ratio is the median over
rounds of heed's speed over a peer's in the same round, for the peer against whom it is least.

With --device cuda, `--preset base` and `big` say something too; --peak, the device's bfloat16 TFLOP/s, gives what share
of them heed uses (MFU). Prints the seconds of each round; the last line is JSON.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from heed.models.spec.network import NetworkSpec
from heed.models.spec.preset import TRANSLATION_PRESETS, complete, preset
from heed.models.system.processor import available_cores
from heed.transformer.data.batching.batches import Batch
from heed.transformer.data.preparation.translation_run import batches, new_run
from heed.transformer.masks import padding_mask
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig

STEPS = Path(__file__).with_name("train_steps.py")
PRECISIONS = ("float32", "bfloat16")


class Contestant:
    """One that trains, in a process of its own."""

    def __init__(self, name: str, python: str, directory: Path, precision: str, threads: int, device: str) -> None:
        command = [python, str(STEPS), name, str(directory), precision, str(threads), device]
        self.name, self.precision = name, precision
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, numbers: list[int]) -> float:
        """How long its steps take on batches with these numbers."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{json.dumps(numbers)}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def prepare(directory: Path, arguments: argparse.Namespace) -> tuple[TranslationRun, list[Batch]]:
    """Write a run, its batches and its sizes, for all to read."""
    tables = preset(arguments.preset)
    src, tgt = (str(arguments.data / "multi30k" / f"train.{language}.gz") for language in ("en", "de"))
    asked = {name: value for name, value in tables["train"].items() if name not in ("steps", "vocab_size")}
    config = TranslationConfig(src=(src,), tgt=(tgt,), vocab_size=arguments.vocab_size, steps=1, **asked)  # type: ignore[arg-type]
    run, corpus = new_run(directory / "run", complete(tables["network"]), config)
    made = batches(run, corpus).epoch(0, seed=1)
    chosen = list(islice(made, (arguments.rounds + 1) * arguments.steps))
    torch.save([{"src": b.src, "tgt": b.tgt, "targets": b.targets} for b in chosen], directory / "batches.pt")
    tokenizer = run.tgt_tokenizer
    special = {f"{name}_id": getattr(tokenizer, f"{name}_id") for name in ("pad", "unk", "bos", "eos")}
    others = {"label_smoothing": run.train.label_smoothing, "length": run.train.max_length + 1}
    (directory / "sizes.json").write_text(json.dumps(sizes(run.spec) | special | others), "utf-8")
    return run, chosen


def sizes(spec: NetworkSpec) -> dict[str, object]:
    """A network's sizes, by the names that the others read."""
    assert spec.encoder is not None
    assert spec.decoder is not None
    return {
        "n_layers": spec.decoder.n_layers,
        "d_model": spec.d_model,
        "d_ff": spec.decoder.feed_forward.d_ff,
        "n_heads": spec.decoder.attention.n_heads,
        "dropout": spec.dropout,
        "norm": "pre" if spec.decoder.norm.placement == "before" else "post",
        "tied_embeddings": spec.tied_output,
        "src_vocab_size": spec.encoder.vocab_size,
        "tgt_vocab_size": spec.decoder.vocab_size,
    }


@contextlib.contextmanager
def contestants(directory: Path, arguments: argparse.Namespace) -> Iterator[list[Contestant]]:
    """All that are compared."""
    pythons: dict[str, str] = dict.fromkeys(("heed", "torch", "lean"), sys.executable)
    if arguments.joey:
        pythons["joey"] = arguments.joey
    else:
        print("Joey NMT is left out: --joey names the Python of its environment")
    shared = directory, arguments.threads, arguments.device
    found = [
        Contestant(name, python, shared[0], p, *shared[1:]) for p in PRECISIONS for name, python in pythons.items()
    ]
    try:
        yield found
    finally:
        for contestant in found:
            contestant.process.kill()
            contestant.process.communicate()


def measure(arguments: argparse.Namespace, everyone: list[Contestant], n_tokens: list[int]) -> dict[str, list[float]]:
    """Each one's target tokens a second, round by round."""
    speeds: dict[str, list[float]] = {f"{c.name}_{c.precision}": [] for c in everyone}
    for number in range(arguments.rounds + 1):
        numbers = list(range(number * arguments.steps, (number + 1) * arguments.steps))
        for contestant in everyone:
            speed = sum(n_tokens[i] for i in numbers) / contestant.seconds(numbers)
            if number > 0:  # the first round warms up
                speeds[f"{contestant.name}_{contestant.precision}"].append(speed)
                print(f"round {number}  {contestant.name:6}{contestant.precision:10}{speed:9,.0f} tokens/s", flush=True)
    return speeds


def least_ratio(speeds: dict[str, list[float]], precision: str) -> float:
    """How many times a peer's speed heed's is, for the peer against whom that is least."""
    ours = speeds[f"heed_{precision}"]
    peers = [values for name, values in speeds.items() if name.endswith(precision) and not name.startswith("heed")]
    return min(statistics.median(x / y for x, y in zip(ours, theirs, strict=True)) for theirs in peers)


def n_flops(run: TranslationRun, batch: Batch) -> int:
    """Of a step's products, forward and backward, over a batch as it is padded; counted, not computed."""
    with torch.device("meta"):
        network, (src, tgt) = (
            run.new_network(),
            (torch.empty_like(ids, device="meta") for ids in (batch.src, batch.tgt)),
        )
        with FlopCounterMode(display=False) as counter:
            network(src, padding_mask(src, run.src_tokenizer.pad_id), tgt)
    return 3 * counter.get_total_flops()  # the backward pass makes two products for each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--joey", help="the Python of an environment with Joey NMT")
    parser.add_argument("--preset", choices=TRANSLATION_PRESETS, default="small")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of each one in a round")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=float, help="TFLOP/s in bfloat16 that the device is said to make")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run, chosen = prepare(Path(name), arguments)
        n_tokens = [batch.n_tokens for batch in chosen]
        n_padded = sum(batch.tgt.numel() for batch in chosen)
        print(f"{len(chosen)} batches; of their target positions {1 - sum(n_tokens) / n_padded:.1%} are padding")
        with contestants(Path(name), arguments) as everyone:
            speeds = measure(arguments, everyone, n_tokens)
    results: dict[str, float] = {name: round(statistics.median(values)) for name, values in speeds.items()}
    for precision in PRECISIONS:
        results[f"ratio_{precision}"] = round(least_ratio(speeds, precision), 2)
    if arguments.peak:
        flops_a_token = n_flops(run, chosen[0]) / n_tokens[0]
        results["mfu_bfloat16"] = round(results["heed_bfloat16"] * flops_a_token / arguments.peak / 1e12, 3)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
