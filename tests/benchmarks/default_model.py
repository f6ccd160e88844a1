"""Make the default model, English to German, from the Tatoeba pairs: split, `heed train`, `heed export`.

    python tests/benchmarks/default_model.py --data DIR --work runs/default

DIR holds tatoeba/en-de.tsv.gz: English, a tab, German ("www.manythings.org/anki and tatoeba.org", CC BY 2.0 FR).
One English sentence can have several translations, so the test set is drawn by English sentence, and a sentence that
differs from one of it only in case, punctuation or spacing is kept from the training set as well.
The last line is JSON.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
from pathlib import Path

HEED = str(Path(sys.executable).with_name("heed"))
N_TEST = 1000
SEED = 2017
LICENCE = "CC BY 2.0 FR, as its training text"
TRAINED_ON = (
    "English-German sentence pairs of the Tatoeba project, from www.manythings.org/anki and tatoeba.org, "
    "CC BY 2.0 FR (https://creativecommons.org/licenses/by/2.0/fr/). Everyday sentences, most of them short: "
    "expect little of long, technical or official text."
)


def split(pairs: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The training and the test pairs; the same ones every time."""
    translations: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        translations.setdefault(_letters(pair[0]), []).append(pair)
    chosen = random.Random(SEED)
    tested = set(chosen.sample(sorted(translations), N_TEST))
    test = [chosen.choice(translations[key]) for key in sorted(tested)]
    return [pair for pair in pairs if _letters(pair[0]) not in tested], test


def _letters(text: str) -> str:
    return re.sub(r"\W+", " ", text.casefold()).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with tatoeba/en-de.tsv.gz")
    parser.add_argument("--work", type=Path, required=True, help="directory for the split, the run and the bundle")
    parser.add_argument("--minutes", type=float, default=103, help="of training")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    lines = gzip.decompress((arguments.data / "tatoeba/en-de.tsv.gz").read_bytes()).decode("utf-8").split("\n")
    pairs = [(english, german) for english, german in (line.split("\t") for line in lines if line)]
    for name, chosen in zip(("train", "test"), split(pairs), strict=True):
        for side, language in enumerate(("en", "de")):
            text = "".join(pair[side] + "\n" for pair in chosen)
            (work / f"tatoeba.{name}.{language}").write_text(text, "utf-8")
    run = work / "run"
    if run.exists():
        train = ["--resume", str(run)]
    else:
        train = [
            "--src",
            str(work / "tatoeba.train.en"),
            "--tgt",
            str(work / "tatoeba.train.de"),
            "-o",
            str(run),
        ]
        train += [
            "--src-language",
            "en",
            "--tgt-language",
            "de",
            "--preset",
            "small",
            "--batch-tokens",
            "3072",
        ]
        train += [
            "--steps",
            "100000",
            "--minutes",
            str(arguments.minutes),
            "--valid-every",
            "500",
            "--seed",
            str(SEED),
        ]
    subprocess.run([HEED, "train", *train, "--threads", str(arguments.threads)], check=True)
    export = [str(run), "-o", str(work / "en-de"), "--name", "en-de", "--precision", "int8", "--force"]
    export += ["--test-src", str(work / "tatoeba.test.en"), "--test-tgt", str(work / "tatoeba.test.de")]
    export += ["--licence", LICENCE, "--trained-on", TRAINED_ON]
    subprocess.run([HEED, "export", *export], check=True)
    quality = json.loads((work / "en-de" / "heed.json").read_text("utf-8"))["quality"]
    print(json.dumps({key: quality[key] for key in ("bleu", "chrf", "bleu_torch")}))


if __name__ == "__main__":
    main()
