"""What pre-training is worth, and the default language model: learn novels, then Shakespeare; or Shakespeare alone.

    python tests/benchmarks/fine_tuning.py --data DIR --work runs/fine-tuning

DIR holds lm/gutenberg/*.txt.gz, eleven novels in the public domain, and lm/tinyshakespeare.txt.gz, of which nine tenths
are learnt and the rest is predicted. Both sides have the novels' vocabulary and learn Shakespeare for as many steps. An
interrupted run goes on where it was. The fine-tuned model becomes the bundle `shakespeare`. The last line is JSON.
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
STEPS = {"novels": 2200, "fine-tuned": 700, "alone": 700}
LICENCE = "CC0: made from texts in the public domain"
TRAINED_ON = (
    "Eleven novels of the 19th century (Austen, Brontë, Dickens, Doyle, Eliot, Melville, Stoker, Tolstoy), by way of "
    "Project Gutenberg, then plays of Shakespeare (Tiny Shakespeare): all in the public domain in the USA. It goes on "
    "in their manner, and knows no facts."
)


def split(data: Path, work: Path) -> list[str]:
    """Write the part of Shakespeare that is learnt and the one that is predicted; returns options that name both."""
    text = gzip.decompress((data / "lm/tinyshakespeare.txt.gz").read_bytes())
    cut = len(text) * 9 // 10
    (work / "train.txt").write_bytes(text[:cut])
    (work / "valid.txt").write_bytes(text[cut:])
    return ["--text", str(work / "train.txt"), "--valid-text", str(work / "valid.txt")]


def train(run: Path, options: list[str], threads: int) -> dict[str, Any]:
    """Train, unless that is done; returns the best validation."""
    if not run.exists():
        command = ["--preset", "gpt-tiny", "--steps", str(STEPS[run.name]), *options, "-o", str(run)]
        subprocess.run([HEED, "train", *command, "--threads", str(threads)], check=True)
    elif not any(event.get("averaged") for event in events(run)):
        subprocess.run([HEED, "train", "--resume", str(run), "--threads", str(threads)], check=True)
    return min((event for event in events(run) if event["event"] == "validation"), key=lambda event: event["loss"])


def events(run: Path) -> list[dict[str, Any]]:
    """The log of a run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with lm/")
    parser.add_argument("--work", type=Path, default=Path("runs/fine-tuning"), help="directory to be made")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    shakespeare = split(arguments.data, work)
    novels = [word for path in sorted((arguments.data / "lm/gutenberg").glob("*.gz")) for word in ("--text", str(path))]
    pre_training = [*novels, "--vocab-size", "2000", "--dropout", "0.1"]
    train(work / "novels", pre_training, arguments.threads)
    tuning = [*shakespeare, "--init-from", str(work / "novels"), "--learning-rate", "5e-4", "--valid-every", "100"]
    alone = [*shakespeare, "--tokenizer", str(work / "novels/tokenizer.model"), "--valid-every", "100"]
    best = {
        "fine-tuned": train(work / "fine-tuned", tuning, arguments.threads),
        "alone": train(work / "alone", alone, arguments.threads),
    }
    bundle = [str(work / "fine-tuned"), "-o", str(work / "shakespeare"), "--precision", "int8", "--force"]
    label = ["--name", "shakespeare", "--licence", LICENCE, "--trained-on", TRAINED_ON]
    subprocess.run([HEED, "export", *bundle, *label], check=True)
    for name, event in best.items():
        nats = event["bits_per_byte"] * math.log(2)  # the text is ASCII: a byte is a character
        print(
            f"{name:10}  step {event['step']:4} of {STEPS[name]}  perplexity of a token {event['perplexity']:.2f}  "
            f"{nats:.4f} nats a character"
        )
    print(json.dumps({name: round(event["perplexity"], 3) for name, event in best.items()}))


if __name__ == "__main__":
    main()
