"""Translation speed against CTranslate2: the same weights in int8, on the same lines, in turn.

    python tests/benchmarks/translate_speed.py --data DIR --work runs/speed

DIR holds multi30k/{train,val,test_2016_flickr}.{en,de}.gz. WORK gets a run of the `base` network with a vocabulary of
32,000, trained until its outputs end by themselves (`--run` takes another one, with one vocabulary for both sides), a
bundle, and the same weights for CTranslate2. Each side is a process of its own, for CTranslate2 one for each set of
instructions; both are tried with all their settings on some of the lines, and then run in turn on all of them, each at
its best: with a shortlist of the vocabulary (CTranslate2 calls it vmap, and gets the same one) and without. The last
line is JSON. Needs the `bench` extra.
"""

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sacrebleu

from heed.models.decoding.config import DecodeConfig
from heed.models.system.processor import available_cores
from heed.models.tasks.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer

if TYPE_CHECKING:  # torch stays out of the processes whose memory is measured
    from heed.transformer.data.shortlist import Shortlist
    from heed.transformer.model import Transformer
    from heed.transformer.training.runs.run import TranslationRun

TEST = "test_2016_flickr"
HEED = str(Path(sys.executable).with_name("heed"))
ISAS = ("AVX2", "AVX512")
LONGEST = 64  # tokens of an output: more than any reference has, so that an output without end costs both the same
Settings = dict[str, Any]
Translate = Callable[[list[str], Settings], list[str]]


def train(data: Path, run: Path, minutes: float, threads: int) -> None:
    """Train the network, unless that is done."""
    if run.exists():
        return
    command = [HEED, "train", "-o", str(run), "--src-language", "en", "--tgt-language", "de"]
    for option, name in (("", "train"), ("valid-", "val")):
        for side, language in (("src", "en"), ("tgt", "de")):
            command += [f"--{option}{side}", str(data / f"{name}.{language}.gz")]
    # Layer norm before each sub-layer and a short warmup: this network has an hour, not the paper's twelve.
    command += ["--preset", "base", "--norm", "pre", "--vocab-size", "32000", "--batch-tokens", "1024"]
    command += ["--warmup", "500", "--learning-rate-scale", "0.5", "--valid-every", "300", "--steps", "100000"]
    subprocess.run([*command, "--minutes", str(minutes), "--threads", str(threads)], check=True)


def export(data: Path, run: Path, bundle: Path) -> None:
    """Export the run in int8, unless that is done; says what int8 and the shortlist cost."""
    if not bundle.exists():
        test = ["--test-src", str(data / f"{TEST}.en.gz"), "--test-tgt", str(data / f"{TEST}.de.gz")]
        subprocess.run([HEED, "export", str(run), "-o", str(bundle), "--precision", "int8", *test], check=True)


def convert(run_path: Path, directory: Path) -> None:
    """Convert the run's weights for CTranslate2, unless that is done."""
    from heed.transformer.data.shortlist import Shortlist
    from heed.transformer.training.runs.run import TranslationRun

    if directory.exists():
        return
    run = TranslationRun.open(run_path)
    write_ctranslate2(run.load_network(run.best()[0]), run, directory)
    shortlist = Shortlist.load(run_path)
    if shortlist:
        pieces = [run.tgt_tokenizer.piece(i) for i in range(len(run.tgt_tokenizer))]
        write_vmap(shortlist, pieces, directory / "vmap.txt")


def write_ctranslate2(network: "Transformer", run: "TranslationRun", directory: Path) -> None:
    """Convert a network's weights for CTranslate2, in int8."""
    import torch
    from ctranslate2.specs import common_spec, transformer_spec  # pyright: ignore[reportMissingImports]

    from heed.transformer.positions import sinusoids

    network_spec = network.spec
    assert network_spec.encoder is not None
    assert network_spec.decoder is not None
    before = network_spec.decoder.norm.placement == "before"
    state = {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}
    n_layers = network_spec.encoder.n_layers, network_spec.decoder.n_layers
    spec: Any = transformer_spec.TransformerSpec.from_config(
        n_layers,
        network_spec.decoder.attention.n_heads,
        pre_norm=before,
        activation=common_spec.Activation.RELU,
    )
    positions = sinusoids(torch.arange(1024), network_spec.d_model).numpy()
    names = (network_spec.embedding_of(stack) for stack in ("encoder", "decoder"))
    for side, name in zip((spec.encoder, spec.decoder), names, strict=True):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = state[f"{name}.weight"]
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
    if before:
        norm(spec.encoder.layer_norm, "encoder.norm")
        norm(spec.decoder.layer_norm, "decoder.norm")
    spec.decoder.projection.weight = state[f"{network_spec.output}.weight"]
    pieces = [run.src_tokenizer.piece(i) for i in range(len(run.src_tokenizer))]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.validate()
    spec.optimize(quantization="int8")
    directory.mkdir()
    spec.save(str(directory))


def write_vmap(shortlist: "Shortlist", pieces: list[str], path: Path) -> None:
    """The shortlist as CTranslate2 reads it: a source token, a tab, target tokens; without a source token, for all."""
    rows = ["\t" + " ".join(pieces[i] for i in shortlist.always)]
    for src, likely in enumerate(shortlist.likely):
        if own := [pieces[i] for i in dict.fromkeys(likely.tolist()) if i != shortlist.always[0]]:
            rows.append(pieces[src] + "\t" + " ".join(own))
    path.write_text("".join(row + "\n" for row in rows), "utf-8")


# The two sides, each in a process of its own


def heed_side(bundle: Path) -> Translate:
    """heed, by the interface that its command line uses."""
    loaded: dict[tuple[bool, int], Translator] = {}

    def translate(lines: list[str], settings: Settings) -> list[str]:
        key = (settings["shortlist"], settings["workers"])
        if key not in loaded:
            loaded.clear()
            loaded[key] = Translator.load(bundle, threads=settings["workers"], shortlist=settings["shortlist"])
        config = DecodeConfig(beam_size=settings["beam"], max_length=LONGEST)
        return [found.text for found in loaded[key].translate(lines, config, batch_size=settings["batch"])]

    return translate


def peer_side(directory: Path, bundle: Path) -> Translate:
    """CTranslate2 with SentencePiece, with its own sorting by length."""
    import ctranslate2  # pyright: ignore[reportMissingImports]

    tokenizer = Tokenizer.load(bundle / "tokenizer.model")
    pieces = [tokenizer.piece(i) for i in range(len(tokenizer))]
    ids = {piece: i for i, piece in enumerate(pieces)}
    loaded: dict[tuple[int, int], Any] = {}

    def translate(lines: list[str], settings: Settings) -> list[str]:
        key = (settings["workers"], settings["threads"])
        if key not in loaded:
            loaded.clear()
            loaded[key] = ctranslate2.Translator(
                str(directory), compute_type="int8", inter_threads=key[0], intra_threads=key[1]
            )
        found = loaded[key].translate_batch(
            [[pieces[i] for i in line] + ["</s>"] for line in tokenizer.encode(lines)],
            beam_size=settings["beam"],
            length_penalty=0.6,
            max_batch_size=settings["batch"],
            max_decoding_length=LONGEST,
            use_vmap=settings["shortlist"],
        )
        return tokenizer.decode([[ids[piece] for piece in one.hypotheses[0]] for one in found])

    return translate


def serve(translate: Translate) -> None:
    """Answer each line of stdin, settings and a file of text, with the seconds and the memory that it took."""
    for line in sys.stdin:
        request = json.loads(line)
        lines = Path(request["lines"]).read_text("utf-8").split("\n")[:-1]
        translate(lines[:64], request)  # loads what is not loaded yet, and warms it up
        begin = time.perf_counter()
        texts = translate(lines, request)
        seconds = time.perf_counter() - begin
        Path(request["output"]).write_text("".join(text + "\n" for text in texts), "utf-8")
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}), flush=True)


def peak_mib() -> float:
    """The most memory that this process has had; ru_maxrss would count that of the process which started it."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Side:
    """A process that translates.

    Args:
        name: "heed" or "peer".
        work: Where the models are.
        isa: The instructions that CTranslate2 may use.
    """

    def __init__(self, name: str, work: Path, isa: str) -> None:
        self.name, self.isa, self._work = name, isa, work
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, "--work", str(work)],
            env={**os.environ, "CT2_FORCE_CPU_ISA": isa},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def translate(self, lines: Path, settings: Settings) -> dict[str, float]:
        """Seconds and peak memory; the translations stand in `output`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**settings, "lines": str(lines), "output": str(self.output)}) + "\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found

    @property
    def output(self) -> Path:
        """The file of the last translations."""
        return self._work / f"output.{self.name}{self.isa}"

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def peak_memory(name: str, work: Path, isa: str, lines: Path, settings: Settings) -> float:
    """The most memory that a fresh process takes, in MiB."""
    side = Side(name, work, isa)
    peak = side.translate(lines, settings)["peak_mib"]
    side.close()
    return peak


# The comparison


def best(sides: list[Side], grid: list[Settings], lines: Path) -> tuple[Side, Settings]:
    """The fastest side and settings on some lines."""
    seconds: dict[int, float] = {}
    tried = list(itertools.product(sides, grid))
    for i, (side, settings) in enumerate(tried):
        seconds[i] = side.translate(lines, settings)["seconds"]
        print(f"    {describe(side, settings)}: {seconds[i]:.2f} s", flush=True)
    return tried[min(seconds, key=lambda i: seconds[i])]


def describe(side: Side, settings: Settings) -> str:
    """Settings in words."""
    threads = f" × {settings['threads']} threads" if "threads" in settings else ""
    return f"{side.isa + ', ' if side.isa else ''}{settings['workers']} workers{threads}, batch {settings['batch']}"


def compare(
    sides: dict[str, list[Side]], tokenizer: Tokenizer, texts: dict[str, Path], rounds: int, **common: Any
) -> dict[str, Any]:
    """The ratio of speeds in turns, and BLEU of both."""
    cores, batches = available_cores(), (32, 64, 128)
    print(f"\nbeam {common['beam']}, {'with a shortlist' if common['shortlist'] else 'over the whole vocabulary'}")
    grids: dict[str, list[Settings]] = {
        "heed": [{"workers": cores, "batch": batch, **common} for batch in batches],
        "peer": [{"workers": cores, "threads": 1, "batch": batch, **common} for batch in batches],
    }
    if cores > 1:
        grids["peer"].append({"workers": 1, "threads": cores, "batch": 64, **common})
    chosen = {}
    for name, grid in grids.items():
        print(f"  {name}")
        chosen[name] = best(sides[name], grid, texts["some"])
    references = texts["references"].read_text("utf-8").split("\n")[:-1]
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, (side, settings) in chosen.items():
            seconds[name].append(side.translate(texts["all"], settings)["seconds"])
    bleu = {}
    for name, (side, settings) in chosen.items():
        found = side.output.read_text("utf-8").split("\n")[:-1]
        bleu[name] = sacrebleu.corpus_bleu(found, [references]).score
        speed = sum(len(ids) for ids in tokenizer.encode(found)) / statistics.median(seconds[name])
        print(f"  {name:5} {speed:9,.0f} tokens/s  BLEU {bleu[name]:.2f}  ({describe(side, settings)})")
    # Of the seconds for the same lines: a side gains nothing by longer translations.
    ratio = statistics.geometric_mean(theirs / ours for ours, theirs in zip(*seconds.values(), strict=True))
    print(f"  ratio {ratio:.2f}", flush=True)
    return {"ratio": ratio, "bleu": bleu, "chosen": chosen}


def write_texts(data: Path, work: Path, n_lines: int) -> dict[str, Path]:
    """The test set, repeated, its references, and a part of it to choose settings on."""
    paths = {name: work / f"text.{name}" for name in ("all", "some", "references")}
    sides = [
        gzip.decompress((data / f"{TEST}.{language}.gz").read_bytes()).decode().split("\n")[:-1]
        for language in ("en", "de")
    ]
    lines, references = (list(itertools.islice(itertools.cycle(side), n_lines)) for side in sides)
    for name, chosen in (("all", lines), ("some", lines[: n_lines // 4]), ("references", references)):
        paths[name].write_text("".join(line + "\n" for line in chosen), "utf-8")
    return paths


def measure(work: Path, texts: dict[str, Path], rounds: int) -> dict[str, float]:
    """All comparisons."""
    tokenizer = Tokenizer.load(work / "heed" / "tokenizer.model")
    sides = {"heed": [Side("heed", work, "")], "peer": [Side("peer", work, isa) for isa in ISAS]}
    result: dict[str, float] = {}
    chosen: dict[str, tuple[Side, Settings]] = {}
    for beam, shortlist in itertools.product((1, 4), (True, False)):
        found = compare(sides, tokenizer, texts, rounds, beam=beam, shortlist=shortlist)
        name = ("greedy" if beam == 1 else "beam4") + ("" if shortlist else "_whole")
        result[f"ratio_{name}"] = found["ratio"]
        if beam == 4 and shortlist:
            result |= {f"bleu_{side}": score for side, score in found["bleu"].items()}
            chosen = found["chosen"]
    for every in sides.values():
        for side in every:
            side.close()
    for name, (side, settings) in chosen.items():
        result[f"mib_{name}"] = peak_memory(name, work, side.isa, texts["some"], {**settings, "batch": 64})
    print(f"\npeak memory at batch 64, beam 4: heed {result['mib_heed']:.0f} MiB, peer {result['mib_peer']:.0f} MiB")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory with multi30k/")
    parser.add_argument("--work", type=Path, required=True, help="directory for the run and both models")
    parser.add_argument("--run", type=Path, help="a run of heed train  [default: WORK/run, made where it is missing]")
    parser.add_argument("--minutes", type=float, default=55, help="of training, where the run is missing")
    parser.add_argument("--lines", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=["heed", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work: Path = arguments.work
    if arguments.serve:
        bundle = work / "heed"
        serve(heed_side(bundle) if arguments.serve == "heed" else peer_side(work / "ctranslate2", bundle))
        return
    data, run = arguments.data / "multi30k", arguments.run or work / "run"
    work.mkdir(parents=True, exist_ok=True)
    train(data, run, arguments.minutes, available_cores())
    export(data, run, work / "heed")
    convert(run, work / "ctranslate2")
    result = measure(work, write_texts(data, work, arguments.lines), arguments.rounds)
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()
