"""Translation speed against CTranslate2: the same weights in int8, on the same lines, in turn, in one process.

    python tests/benchmarks/translate_speed.py --run runs/multi30k --data DIR

RUN is a run of heed train with one vocabulary for both sides; DIR holds multi30k/test_2016_flickr.{en,de}.gz. Both
sides are tried with several settings on some of the lines, then run in turn on all of them, each at its best. The last
line is JSON. Needs the `bench` extra.
"""

import argparse
import gzip
import itertools
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2  # pyright: ignore[reportMissingImports]
import numpy as np
import sacrebleu
import torch
from ctranslate2.specs import common_spec, transformer_spec  # pyright: ignore[reportMissingImports]

from heed.export.exporter import write_graphs
from heed.models.onnx_network import OnnxNetwork
from heed.models.processors import available_cores
from heed.models.search import DecodeConfig
from heed.models.translator import Translator
from heed.transformer.model import Transformer
from heed.transformer.positions import sinusoids
from heed.transformer.run import Run

TEST = "test_2016_flickr"
Translate = Callable[[list[str]], list[str]]


def write_ctranslate2(network: Transformer, run: Run, directory: Path) -> None:
    """Convert a network's weights for CTranslate2, in int8."""
    config = network.config
    state = {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}
    spec: Any = transformer_spec.TransformerSpec.from_config(
        config.n_layers, config.n_heads, pre_norm=config.norm == "pre", activation=common_spec.Activation.RELU
    )
    positions = sinusoids(torch.arange(1024), config.d_model).numpy()
    for side, name in ((spec.encoder, "src"), (spec.decoder, "tgt")):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = state[f"{name}_embedding.weight"]
        side.position_encodings.encodings = positions

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = state[f"{name}.weight"], state[f"{name}.bias"]

    def attention(target: Any, name: str, residual: str, groups: list[tuple[str, ...]]) -> None:
        for linear, parts in zip(target.linear, groups, strict=True):
            linear.weight = np.concatenate([state[f"{name}.{part}.weight"] for part in parts])
        norm(target.layer_norm, f"{residual}.norm")

    for stack, layers in (("encoder", spec.encoder.layer), ("decoder", spec.decoder.layer)):
        for number, layer in enumerate(layers):
            name = f"{stack}.layers.{number}"
            parts = [("query", "key", "value"), ("output",)]
            attention(layer.self_attention, f"{name}.self_attention", f"{name}.self_residual", parts)
            if stack == "decoder":
                parts = [("query",), ("key", "value"), ("output",)]
                attention(layer.attention, f"{name}.cross_attention", f"{name}.cross_residual", parts)
            for linear, part in ((layer.ffn.linear_0, "inner"), (layer.ffn.linear_1, "outer")):
                linear.weight = state[f"{name}.feed_forward.{part}.weight"]
                linear.bias = state[f"{name}.feed_forward.{part}.bias"]
            norm(layer.ffn.layer_norm, f"{name}.feed_residual.norm")
    if config.norm == "pre":
        norm(spec.encoder.layer_norm, "encoder.norm")
        norm(spec.decoder.layer_norm, "decoder.norm")
    spec.decoder.projection.weight = state["projection.weight"]
    pieces = [run.src_tokenizer.piece(i) for i in range(len(run.src_tokenizer))]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.validate()
    spec.optimize(quantization="int8")
    directory.mkdir()
    spec.save(str(directory))


def ctranslate2_sides(run: Run, directory: Path, beam_size: int, cores: int) -> dict[str, Translate]:
    """CTranslate2 by workers, threads and batch size; its own sorting by length."""
    pieces = [run.src_tokenizer.piece(i) for i in range(len(run.src_tokenizer))]
    ids = {piece: i for i, piece in enumerate(pieces)}
    sides: dict[str, Translate] = {}
    for workers, size in itertools.product(sorted({1, cores}), (32, 64, 128)):
        engine = ctranslate2.Translator(
            str(directory), compute_type="int8", inter_threads=workers, intra_threads=cores // workers
        )

        def translate(lines: list[str], engine: ctranslate2.Translator = engine, size: int = size) -> list[str]:
            sources = [[pieces[i] for i in line] + ["</s>"] for line in run.src_tokenizer.encode(lines)]
            found = engine.translate_batch(
                sources, beam_size=beam_size, length_penalty=0.6, max_batch_size=size, max_decoding_length=256
            )
            return run.tgt_tokenizer.decode([[ids[piece] for piece in one.hypotheses[0]] for one in found])

        sides[f"{workers} workers × {cores // workers} threads, batch {size}"] = translate
    return sides


def heed_sides(run: Run, directory: Path, beam_size: int, cores: int) -> dict[str, Translate]:
    """heed by batch size."""
    network = OnnxNetwork(directory, run.model, device="cpu", threads=1)
    translator = Translator(network, run.src_tokenizer, run.tgt_tokenizer, workers=cores)
    config = DecodeConfig(beam_size=beam_size)

    def side(size: int) -> Translate:
        return lambda lines: [found.text for found in translator.translate(lines, config, batch_size=size)]

    return {f"batch {size}": side(size) for size in (32, 64, 128)}


def best(sides: dict[str, Translate], lines: list[str]) -> tuple[str, Translate]:
    """The fastest side on some lines."""
    seconds = {}
    for name, translate in sides.items():
        translate(lines[:64])
        begin = time.perf_counter()
        translate(lines)
        seconds[name] = time.perf_counter() - begin
        print(f"    {name}: {seconds[name]:.2f} s", flush=True)
    name = min(seconds, key=lambda name: seconds[name])
    return name, sides[name]


def compare(
    run: Run, work: Path, beam_size: int, lines: list[str], references: list[str], rounds: int
) -> dict[str, float]:
    """The ratio of speeds in turns, and BLEU of both."""
    cores = available_cores()
    print(f"\nbeam {beam_size}, {os.environ.get('CT2_FORCE_CPU_ISA', 'instructions as detected')}")
    chosen = {}
    for name, sides in (
        ("heed", heed_sides(run, work / "heed", beam_size, cores)),
        ("peer", ctranslate2_sides(run, work / "ctranslate2", beam_size, cores)),
    ):
        print(f"  {name}")
        chosen[name] = best(sides, lines[: len(lines) // 4])
    speeds: dict[str, list[float]] = {name: [] for name in chosen}
    bleu = {}
    for _ in range(rounds):
        for name, (_, translate) in chosen.items():
            begin = time.perf_counter()
            texts = translate(lines)
            seconds = time.perf_counter() - begin
            n_tokens = sum(len(ids) for ids in run.tgt_tokenizer.encode(texts))
            speeds[name].append(n_tokens / seconds)
            bleu[name] = sacrebleu.corpus_bleu(texts, [references]).score
    for name, (settings, _) in chosen.items():
        print(f"  {name:5} {statistics.median(speeds[name]):9,.0f} tokens/s  BLEU {bleu[name]:.2f}  ({settings})")
    ratio = math.prod(ours / theirs for ours, theirs in zip(speeds["heed"], speeds["peer"], strict=True)) ** (
        1 / rounds
    )
    print(f"  ratio {ratio:.2f}")
    return {"ratio": ratio, "bleu_heed": bleu["heed"], "bleu_peer": bleu["peer"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run of heed train")
    parser.add_argument("--data", type=Path, required=True, help="directory with multi30k/")
    parser.add_argument("--lines", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    texts = [
        gzip.decompress((arguments.data / f"multi30k/{TEST}.{language}.gz").read_bytes()).decode().split("\n")[:-1]
        for language in ("en", "de")
    ]
    lines, references = (list(itertools.islice(itertools.cycle(side), arguments.lines)) for side in texts)
    run = Run.open(arguments.run)
    network = run.load_network(run.best()[0])
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "heed").mkdir()
        write_graphs(network, "int8", work / "heed")
        write_ctranslate2(network, run, work / "ctranslate2")
        greedy = compare(run, work, 1, lines, references, arguments.rounds)
        beam = compare(run, work, 4, lines, references, arguments.rounds)
    result = {"ratio_beam4": beam["ratio"], "ratio_greedy": greedy["ratio"]}
    result |= {"bleu_heed": beam["bleu_heed"], "bleu_peer": beam["bleu_peer"]}
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()
