"""A language model from a megabyte of text: train `gpt-tiny` on Tiny Shakespeare, export it, and measure its loss.

    python tests/benchmarks/tiny_shakespeare.py --data DIR --work runs/shakespeare

DIR holds lm/tinyshakespeare.txt.gz. The first nine tenths are learnt, the rest is predicted, as in nanoGPT, whose
README gives 1.88 nats a character for its setting on a CPU and 1.47 for its one on a GPU. An interrupted training goes
on where it was. The last line is JSON.
"""

import argparse
import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

HEED = str(Path(sys.executable).with_name("heed"))
PRECISIONS = ("float32", "int8", "int4")


def split(data: Path, work: Path) -> tuple[Path, Path]:
    """Write the text that is learnt and the text that is predicted."""
    text = gzip.decompress((data / "lm/tinyshakespeare.txt.gz").read_bytes())
    cut = len(text) * 9 // 10
    parts = {"train.txt": text[:cut], "valid.txt": text[cut:]}
    work.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        (work / name).write_bytes(part)
    return work / "train.txt", work / "valid.txt"


def train(work: Path, texts: tuple[Path, Path], options: list[str], threads: int) -> Path:
    """Train, unless that is done."""
    run = work / "run"
    if not run.exists():
        files = ["--text", str(texts[0]), "--valid-text", str(texts[1])]
        command = [HEED, "train", *files, "--preset", "gpt-tiny", *options, "-o", str(run), "--threads", str(threads)]
        subprocess.run(command, check=True)
    elif not any(event.get("averaged") for event in events(run)):
        subprocess.run([HEED, "train", "--resume", str(run), "--threads", str(threads)], check=True)
    return run


def events(run: Path) -> list[dict[str, Any]]:
    """The log of a run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with lm/")
    parser.add_argument("--work", type=Path, default=Path("runs/shakespeare"), help="directory to be made")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    texts = split(arguments.data, arguments.work)
    options = ["--steps", str(arguments.steps)] if arguments.steps else []
    run = train(arguments.work, texts, options, arguments.threads)
    validations = [event for event in events(run) if event["event"] == "validation"]
    best = min(validations, key=lambda event: event["loss"])
    figures = dict.fromkeys(PRECISIONS, 0.0)
    for precision in PRECISIONS:
        bundle = arguments.work / precision
        subprocess.run([HEED, "export", str(run), "-o", str(bundle), "--precision", precision, "--force"], check=True)
        parity = json.loads((bundle / "heed.json").read_text("utf-8"))["parity"]
        figures[precision] = math.exp(parity["loss_bundle"])
    nats = best["bits_per_byte"] * math.log(2)  # the text is ASCII: a byte is a character
    print(f"step {best['step']:,} of {validations[-1]['step']:,}, {validations[-1]['minutes']:.1f} minutes in all")
    print(f"validation loss {best['loss']:.4f} nats a token, {nats:.4f} nats a character")
    for precision, perplexity in figures.items():
        print(f"{precision:8} perplexity of a token {perplexity:.3f}")
    minutes = round(validations[-1]["minutes"], 1)
    print(json.dumps({"nats_per_character": round(nats, 4), "minutes": minutes, "perplexity": figures}))


if __name__ == "__main__":
    main()
