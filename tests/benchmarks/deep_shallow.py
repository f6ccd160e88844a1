"""Translation speed of other forms beside equal stacks of as many parameters: a shallow decoder, and one with SSRUs.

    python tests/benchmarks/deep_shallow.py

Writes int8 graphs of networks with random weights, of 6 + 1 and of 3 + 3 layers, and of both with a recurrence (SSRU)
in place of the decoder's self-attention. Their feed-forward layers are as wide as makes their parameters equal. All
search the same random sources, which no hypothesis ends before 25 tokens: all that differs is the form. They run in
turn. The last line is JSON, with the median of each in target tokens a second of processor time, and its ratio to that
of 3 + 3.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from heed.export.exporter import write_graphs
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.protocol import State
from heed.models.spec.preset import complete, preset, sized
from heed.transformer.model import Transformer

LENGTH = 25  # tokens of a source, and of its output
SPECIAL = SpecialIds(bos_id=1, eos_id=2, suppressed=(0, 1))
# Layers of the encoder and of the decoder, d_ff, and the decoder's recurrence.
FORMS: dict[str, tuple[int, int, int, str | None]] = {
    "3 + 3": (3, 3, 1024, None),
    "6 + 1": (6, 1, 950, None),
    "3 + 3, SSRU": (3, 3, 1152, "ssru"),
    "6 + 1, SSRU": (6, 1, 987, "ssru"),
}


def main() -> None:
    """Measure both forms in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="sentences decoded together")
    parser.add_argument("--beam-size", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sources = np.random.default_rng(1).integers(3, 8000, (asked.batch, LENGTH)).tolist()
    config = DecodeConfig(beam_size=asked.beam_size, max_length=LENGTH, beam_threshold=None)
    with tempfile.TemporaryDirectory() as directory:
        states, sizes = {}, {}
        for name, form in FORMS.items():
            states[name], sizes[name] = opened(Path(directory) / name, *form)
        rates: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(asked.rounds):
            for name, state in states.items():
                rates[name].append(tokens_per_second(state, sources, config))
                print(f"{name}: {rates[name][-1]:,.0f} tokens/s", flush=True)
    medians = {name: round(statistics.median(found), 1) for name, found in rates.items()}
    ratios = {name: round(found / medians["3 + 3"], 2) for name, found in medians.items()}
    print(json.dumps({"parameters": sizes, "tokens_per_second": medians, "ratio": ratios}))


def opened(directory: Path, n_encoder: int, n_decoder: int, d_ff: int, recurrence: str | None) -> tuple[State, int]:
    """The graphs of a network in ONNX Runtime, and its number of parameters."""
    directory.mkdir()
    spec = sized(complete(preset("small")["network"]), 8000, 8000, joint=True)
    assert spec.encoder is not None
    assert spec.decoder is not None
    wide = dataclasses.replace(spec.encoder.feed_forward, d_ff=d_ff)
    spec = dataclasses.replace(
        spec,
        encoder=dataclasses.replace(spec.encoder, n_layers=n_encoder, feed_forward=wide),
        decoder=dataclasses.replace(spec.decoder, n_layers=n_decoder, feed_forward=wide, recurrence=recurrence),
    )
    torch.manual_seed(1)
    network = Transformer(spec).eval()
    files = write_graphs(network, "int8", directory)
    size = sum(parameter.numel() for parameter in network.parameters())
    return OnnxNetwork(directory, spec, files, device="cpu", threads=1).state(), size


def tokens_per_second(state: State, sources: list[list[int]], config: DecodeConfig) -> float:
    """Tokens of the outputs in a second of processor time of the search."""
    begun = time.process_time()
    found = search(state, sources, config, SPECIAL)
    seconds = time.process_time() - begun
    return sum(len(best[0].tokens) for best in found) / seconds


if __name__ == "__main__":
    main()
