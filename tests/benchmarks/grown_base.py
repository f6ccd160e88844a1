"""Train a base network for benchmarks within an hour or two: it grows out of the default model, and learns on.

    python tests/benchmarks/grown_base.py --data DIR --work WORK --minutes 90
    python tests/benchmarks/translate_speed.py --data DIR --work runs/speed --run WORK/base

A network of the paper's base size (6 + 6 layers, width 512) needs days on two cores to learn translation from nothing.
Here it begins as the small one that comes with heed, made wider and deeper without changing what it computes (Net2Net,
Chen et al., 2016; bert2BERT, Chen et al., 2022), and then learns Tatoeba, Multi30k, news and prose. DIR holds tatoeba,
multi30k, wmt, prose and software. Multi30k's and WMT's text have no licence that allows a model to be passed on: the
result is for measuring. The same command goes on with what was stopped.

Width: each dimension becomes two, so that means and variances of a layer norm stay. What reads a dimension reads both
with weights whose sum is the old one, and heads and inner units become two in the same way. The shares are random, so
the two learn different things. Depth: after each layer comes one that adds nothing.
Sinusoids of a wider network have other frequencies, half of which are the old ones: weights of these begin near the
old ones, the others near zero.
"""

import argparse
import dataclasses
import gzip
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from heed.export.importers.bundle import from_bundle
from heed.models.bundle import catalog
from heed.transformer.data.preparation.translation_run import new_run
from heed.transformer.training.runs.settings import TranslationConfig
from heed.transformer.training.runs.warm_start import InitialNetwork

HEED = str(Path(sys.executable).with_name("heed"))
TEST = Path(__file__).parents[1] / "data"
NEWS = ("2008", "2009", "2010", "2011", "2012", "2015", "2016", "2017")  # 2013 and 2014 are for development and tests
WEIGHTS = {"tatoeba": 1.0, "multi30k": 3.0, "news": 2.0, "prose": 1.0, "software": 0.3}
N_VALID = 400  # of Tatoeba and of Multi30k
GROUP = {  # how the rows and columns of a weight grow: "width", "heads", "inner", or not at all
    "query": ("heads", "width"),
    "key": ("heads", "width"),
    "value": ("heads", "width"),
    "output": ("width", "heads"),
    "inner": ("inner", "width"),
    "outer": ("width", "inner"),
    "norm": ("width", None),
}


class Growth:
    """The weights of a small network in one of twice its width and depth.

    Args:
        initial: The small network: norms after each sub-layer, one embedding for all.
        seed: Of the shares.
    """

    def __init__(self, initial: InitialNetwork, seed: int) -> None:
        self._weights = initial.weights
        self._random = torch.Generator().manual_seed(seed)
        encoder = initial.network["encoder"]
        assert isinstance(encoder, dict)
        self._n_layers, self._d_model = int(encoder["n_layers"]), int(str(initial.network["d_model"]))
        self._n_heads, self._d_ff = encoder["attention"]["n_heads"], encoder["feed_forward"]["d_ff"]

    def weights(self) -> dict[str, Tensor]:
        """By name."""
        embedding = self._weights["src_embedding.weight"][:, self._sources("width", 2 * self._d_model)]
        grown = {"src_embedding.weight": embedding / 2**0.5}  # which is multiplied by the root of the width
        for stack, number in itertools.product(("encoder", "decoder"), range(self._n_layers)):
            layer = {
                name.removeprefix(prefix): weight
                for name, weight in self._weights.items()
                if name.startswith(prefix := f"{stack}.layers.{number}.")
            }
            wide = {name: self._widened(name, weight) for name, weight in layer.items()}
            for place, weights in enumerate(self._with_idle(wide), 2 * number):
                grown |= {f"{stack}.layers.{place}.{name}": weight for name, weight in weights.items()}
        for kind in ("weight", "bias"):  # the output projection sums twice as many products of embeddings
            grown[f"decoder.layers.{2 * self._n_layers - 1}.feed_residual.norm.{kind}"] /= 2**0.5
        return grown

    def _widened(self, name: str, weight: Tensor) -> Tensor:
        *_, module, kind = name.split(".")
        rows, columns = GROUP[module]
        assert rows
        weight = weight[self._sources(rows, 2 * len(weight))]
        if kind == "bias" or not columns:
            return weight.contiguous()
        n_old = weight.shape[1]
        sources = self._sources(columns, 2 * n_old)
        first = torch.normal(1.0 if columns == "width" else 0.5, 0.1, (len(weight), n_old), generator=self._random)
        is_second = torch.tensor([source in sources[:number] for number, source in enumerate(sources.tolist())])
        return weight[:, sources] * torch.where(is_second, 1 - first[:, sources], first[:, sources])

    def _sources(self, group: str, n: int) -> Tensor:
        """The old number of each new row or column."""
        new = torch.arange(n)
        if group == "width":  # pairs of a sine and a cosine side by side: every other new frequency is an old one
            return new // 4 * 2 + new % 2
        if group == "heads":
            return new % (n // 2)
        return new // 2

    def _with_idle(self, layer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A layer, and one after it that adds nothing and takes over the gain and bias of its last norm."""
        last = "feed_residual.norm"
        idle = {}
        for name, weight in layer.items():
            *_, module, kind = name.split(".")
            if module == "norm":
                idle[name] = layer[name] if name.startswith(last) else torch.full_like(weight, float(kind == "weight"))
            elif module in ("output", "outer"):
                idle[name] = torch.zeros_like(weight)
            else:
                idle[name] = torch.normal(0.0, 1.0, weight.shape, generator=self._random) * weight.std()
        plain = {f"{last}.weight": torch.ones(2 * self._d_model), f"{last}.bias": torch.zeros(2 * self._d_model)}
        return layer | plain, idle


def grown(initial: InitialNetwork, seed: int = 1) -> InitialNetwork:
    """The same translator with twice the width and depth."""
    network = dict(initial.network)
    network["d_model"] = 2 * int(str(network["d_model"]))
    for side in ("encoder", "decoder"):
        stack = dict(network[side])  # type: ignore[call-overload]
        stack["n_layers"] *= 2
        stack["attention"] = dict(stack["attention"])
        stack["attention"]["n_heads"] *= 2
        stack["attention"]["n_kv_heads"] *= 2
        stack["feed_forward"] = dict(stack["feed_forward"], d_ff=2 * stack["feed_forward"]["d_ff"])
        network[side] = stack
    return dataclasses.replace(initial, network=network, weights=Growth(initial, seed).weights(), shortlist=None)


def texts(data: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The names and the pairs of the training texts."""
    held = set((TEST / "tatoeba.test.en").read_text("utf-8").splitlines())
    held |= set((TEST / "tatoeba.test.de").read_text("utf-8").splitlines())
    with gzip.open(data / "tatoeba" / "en-de.tsv.gz", "rt", encoding="utf-8") as file:
        pairs = [tuple(line.rstrip("\n").split("\t")[:2]) for line in file]
    yield "tatoeba", [(source, target) for source, target in pairs if not held & {source, target}]
    yield "multi30k", _pairs(data / "multi30k" / "train")
    yield "news", [pair for year in NEWS for pair in _pairs(data / "wmt" / "en-de" / f"newstest{year}")]
    for name in ("prose", "software"):
        yield name, _pairs(data / name / "en-de")


def _pairs(path: Path) -> list[tuple[str, str]]:
    contents = (Path(f"{path}.{language}.gz").read_bytes() for language in ("en", "de"))
    sides = (gzip.decompress(content).decode("utf-8").split("\n") for content in contents)
    return [pair for pair in zip(*sides, strict=True) if all(pair)]


def write(work: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    for language, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (work / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def begin(data: Path, work: Path, run: Path) -> None:
    """Write the texts and the run."""
    valid = _pairs(data / "multi30k" / "val")[:N_VALID]
    for name, pairs in texts(data):
        if name == "tatoeba":
            valid += pairs[:: len(pairs) // N_VALID][:N_VALID]
        held = set(valid)
        write(work, name, [pair for pair in pairs if pair not in held])
    write(work, "valid", valid)
    initial = grown(from_bundle(catalog.find(None)))
    config = TranslationConfig(
        data=tuple(f"{work / name}.en,{work / name}.de:{weight}" for name, weight in WEIGHTS.items()),
        valid_src=(str(work / "valid.en"),),
        valid_tgt=(str(work / "valid.de"),),
        src_language="en",
        tgt_language="de",
        tokenizer=initial.tokenizer,
        batch_tokens=2048,
        warmup=200,
        learning_rate_scale=0.1,
        ema=0.995,
        valid_every=400,
        best_by="bleu",
        minutes=1.0,
    )
    new_run(run, initial.network, config, initial)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not (run := options.work / "base").exists():
        begin(options.data, options.work.absolute(), run)
    limits = ["--minutes", str(options.minutes), "--threads", str(options.threads)]
    subprocess.run([HEED, "train", "--resume", str(run), *limits], check=True)


if __name__ == "__main__":
    main()
