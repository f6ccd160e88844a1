"""Translation speed against CTranslate2: the same weights in int8, on the same lines, in turn.

    python tests/benchmarks/translate_speed.py --data DIR --work runs/speed

DIR holds multi30k/{train,val,test_2016_flickr}.{en,de}.gz and wmt/en-de/newstest2014.{en,de}.gz. WORK gets a run of the
`base` network with a vocabulary of 32,000, trained until its outputs end by themselves (`--run` takes another one, with
one vocabulary for both sides), a bundle, and the same weights for CTranslate2. Each side is a process of its own, for
CTranslate2 one for each set of instructions; both are tried with all their settings on some of the lines, and then run
in turn on all of them, each at its best: with a shortlist of the vocabulary (CTranslate2 calls it vmap, and gets the
same one) and without. heed prunes its beams by the bundle's threshold (`ratio_beam4`) and not at all
(`ratio_beam4_off`), and repairs nothing, which the other side does not either.

Then the same with a small network, by default the model that comes with heed (`--small`; `ratio_small_…`), and, with
`--student`, a student of the run: the student in heed with its own settings against the teacher in CTranslate2 with
beam 4 (`ratio_student`, `bleu_student`, `bleu_teacher`), on Multi30k, and on news and everyday sentences (`…_news`,
`…_tatoeba`). With `--pruning`, what pruned beams cost on these three: BLEU, chrF and the mean score of a line, of
pruned beams less those of plain ones. The last line is JSON. Needs the `bench` extra.
"""

import argparse
import contextlib
import dataclasses
import gc
import gzip
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sacrebleu
from peer_models import convert, convert_bundle

from heed.cli.start import MANY
from heed.models.bundle import catalog
from heed.models.system.processor import available_cores
from heed.models.tasks.translation.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer

TEST = "test_2016_flickr"
HEED = str(Path(sys.executable).with_name("heed"))
ISAS = ("AVX2", "AVX512")
SETS = ("multi30k", "news", "tatoeba")
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


# The two sides, each in a process of its own


def heed_side(bundle: Path) -> Translate:
    """heed, by the interface that its command line uses."""
    loaded: dict[tuple[bool, int], Translator] = {}

    def translate(lines: list[str], settings: Settings) -> list[str]:
        key = (settings["shortlist"], settings["workers"])
        if key not in loaded:
            loaded.clear()
            loaded[key] = Translator.load(
                bundle, threads=settings["workers"], shortlist=settings["shortlist"], repair=False
            )
        translator, beam = loaded[key], settings["beam"] or loaded[key].config.beam_size
        config = dataclasses.replace(translator.config, beam_size=beam, max_length=LONGEST)
        if not settings["prunes"]:
            config = dataclasses.replace(config, beam_threshold=None)
        return [found.text for found in translator.translate(lines, config, batch_size=settings["batch"])]

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
    gc.set_threshold(MANY)  # as heed's program does
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
    sides: dict[str, list[Side]],
    tokenizer: Tokenizer,
    texts: dict[str, Path],
    rounds: int,
    own: dict[str, Settings] | None = None,
    **common: Any,
) -> dict[str, Any]:
    """The ratio of speeds in turns, and BLEU of both; `own` are settings of one side."""
    cores, batches = available_cores(), (32, 64, 128, 256)
    words = "with a shortlist" if common["shortlist"] else "over the whole vocabulary"
    print(f"\nbeam {common['beam']}{'' if common['prunes'] else ', not pruned'}, {words}")
    grids: dict[str, list[Settings]] = {
        "heed": [{"workers": cores, "batch": batch, **common} for batch in batches],
        "peer": [{"workers": cores, "threads": 1, "batch": batch, **common} for batch in batches],
    }
    if cores > 1:
        grids["peer"].append({"workers": 1, "threads": cores, "batch": 64, **common})
    chosen = {}
    for name, grid in grids.items():
        print(f"  {name}")
        grid = [settings | (own or {}).get(name, {}) for settings in grid]  # noqa: PLW2901
        chosen[name] = best(sides[name], grid, texts["some"])
    references = texts["references"].read_text("utf-8").split("\n")[:-1]
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, (side, settings) in chosen.items():
            seconds[name].append(side.translate(texts["all"], settings)["seconds"])
    bleu, speeds = {}, {}
    for name, (side, settings) in chosen.items():
        found = side.output.read_text("utf-8").split("\n")[:-1]
        bleu[name] = sacrebleu.corpus_bleu(found, [references]).score
        speeds[name] = sum(len(ids) for ids in tokenizer.encode(found)) / statistics.median(seconds[name])
        print(f"  {name:5} {speeds[name]:9,.0f} tokens/s  BLEU {bleu[name]:.2f}  ({describe(side, settings)})")
    # Of the seconds for the same lines: a side gains nothing by longer translations.
    ratio = statistics.geometric_mean(theirs / ours for ours, theirs in zip(*seconds.values(), strict=True))
    print(f"  ratio {ratio:.2f}", flush=True)
    return {"ratio": ratio, "bleu": bleu, "chosen": chosen, "speed": speeds["heed"]}


def test_set(data: Path, name: str) -> tuple[list[str], list[str]]:
    """The lines and the references of a test set: "multi30k", "news" or "tatoeba"."""
    if name == "tatoeba":
        own = Path(__file__).parents[1] / "data"
        src, tgt = ((own / f"tatoeba.test.{language}").read_text("utf-8") for language in ("en", "de"))
    else:
        path = data / "multi30k" / TEST if name == "multi30k" else data / "wmt" / "en-de" / "newstest2014"
        src, tgt = (gzip.decompress(Path(f"{path}.{language}.gz").read_bytes()).decode() for language in ("en", "de"))
    return src.split("\n")[:-1], tgt.split("\n")[:-1]


def write_texts(data: Path, work: Path, n_lines: int, name: str = "multi30k") -> dict[str, Path]:
    """A test set, repeated, its references, and a part of it to choose settings on."""
    paths = {part: work / f"{name}.{part}" for part in ("all", "some", "references")}
    lines, references = (list(itertools.islice(itertools.cycle(side), n_lines)) for side in test_set(data, name))
    for part, chosen in (("all", lines), ("some", lines[: n_lines // 4]), ("references", references)):
        paths[part].write_text("".join(line + "\n" for line in chosen), "utf-8")
    return paths


def measure(work: Path, texts: dict[str, Path], rounds: int, prefix: str = "") -> dict[str, float]:
    """All comparisons of a network with itself, by the names of the JSON, which have the prefix."""
    result: dict[str, float] = {}
    chosen: dict[str, tuple[Side, Settings]] = {}
    with started(work, work) as sides:
        tokenizer = Tokenizer.load(work / "heed" / "tokenizer.model")
        for shortlist in (True, False):
            speeds = {}
            for name, beam, prunes in (("greedy", 1, False), ("beam4", 4, True), ("beam4_off", 4, False)):
                found = compare(sides, tokenizer, texts, rounds, beam=beam, shortlist=shortlist, prunes=prunes)
                full = f"{prefix}{name}{'' if shortlist else '_whole'}"
                result[f"ratio_{full}"], speeds[name] = found["ratio"], found["speed"]
                result |= {f"bleu_{full}_{side}": score for side, score in found["bleu"].items()}
                chosen = found["chosen"]
            end = "" if shortlist else "_whole"
            result[f"ratio_{prefix}beam4_over_greedy{end}"] = speeds["beam4"] / speeds["greedy"]
    for name, (side, settings) in chosen.items():
        peak = peak_memory(name, work, side.isa, texts["some"], {**settings, "batch": 64})
        result[f"mib_{prefix}{name}"] = peak
        print(f"peak memory of {name} at batch 64, beam 4: {peak:.0f} MiB")
    return result


def measure_student(work: Path, teacher: Path, data: Path, n_lines: int, rounds: int) -> dict[str, float]:
    """The student in heed, with its own settings, against the teacher in CTranslate2 with beam 4."""
    tokenizer, result = Tokenizer.load(work / "heed" / "tokenizer.model"), dict[str, float]()
    with started(work, teacher) as sides:
        for name in SETS:
            texts = write_texts(data, work, n_lines, name)
            both: dict[str, Settings] = {"heed": {"beam": None}, "peer": {"beam": 4}}
            found = compare(sides, tokenizer, texts, rounds, both, beam=4, shortlist=True, prunes=True)
            end = "" if name == "multi30k" else f"_{name}"
            result |= {
                f"ratio_student{end}": found["ratio"],
                f"bleu_student{end}": found["bleu"]["heed"],
                f"bleu_teacher{end}": found["bleu"]["peer"],
            }
    return result


def price_of_pruning(bundle: Path, data: Path, prefix: str) -> dict[str, float]:
    """What is lost by pruned beams of 4, by test set and with the shortlist or without."""
    result = dict[str, float]()
    for shortlist, name in itertools.product((True, False), SETS):
        lines, references = test_set(data, name)
        translator = Translator.load(bundle, shortlist=shortlist, repair=False, split=False)
        figures = []
        for threshold in (translator.config.beam_threshold, None):
            config = dataclasses.replace(translator.config, beam_size=4, beam_threshold=threshold, max_length=256)
            found = translator.translate(lines, config)
            texts = [each.text for each in found]
            bleu, chrf = (score(texts, [references]).score for score in (sacrebleu.corpus_bleu, sacrebleu.corpus_chrf))
            figures.append((bleu, chrf, statistics.fmean(each.score for each in found)))
        lost = dict(zip(("bleu", "chrf", "score"), (a - b for a, b in zip(*figures, strict=True)), strict=True))
        words = "with a shortlist" if shortlist else "over the whole vocabulary"
        print(f"pruned less plain, {name}, {words}: {', '.join(f'{k} {v:+.3f}' for k, v in lost.items())}", flush=True)
        end = name if shortlist else f"{name}_whole"
        result |= {f"pruned_{prefix}{kind}_{end}": value for kind, value in lost.items()}
    return result


@contextlib.contextmanager
def started(heed: Path, peer: Path) -> Iterator[dict[str, list[Side]]]:
    """The processes of both sides, whose models are in these directories."""
    sides = {"heed": [Side("heed", heed, "")], "peer": [Side("peer", peer, isa) for isa in usable_isas()]}
    try:
        yield sides
    finally:
        for side in itertools.chain(*sides.values()):
            side.close()


def usable_isas() -> list[str]:
    """The instructions that CTranslate2 may be tried with on this processor."""
    return [isa for isa in ISAS if isa != "AVX512" or "avx512f" in Path("/proc/cpuinfo").read_text("utf-8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory with multi30k/ and wmt/")
    parser.add_argument("--work", type=Path, required=True, help="directory for the run and both models")
    parser.add_argument("--run", type=Path, help="a run of heed train  [default: WORK/run, made where it is missing]")
    parser.add_argument("--minutes", type=float, default=55, help="of training, where the run is missing")
    parser.add_argument("--lines", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=Path, help="a bundle of a small network  [default: en-de, which is heed's]")
    parser.add_argument("--student", type=Path, help="the bundle of a student of the run")
    parser.add_argument("--parts", nargs="*", choices=["base", "small"], default=["base", "small"])
    parser.add_argument("--pruning", action="store_true", help="measure what pruned beams cost, too")
    parser.add_argument("--serve", choices=["heed", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work: Path = arguments.work
    if arguments.serve:
        bundle = work / "heed"
        serve(heed_side(bundle) if arguments.serve == "heed" else peer_side(work / "ctranslate2", bundle))
        return
    data, run = arguments.data, arguments.run or work / "run"
    work.mkdir(parents=True, exist_ok=True)
    texts, result = write_texts(data, work, arguments.lines), dict[str, float]()
    train(data / "multi30k", run, arguments.minutes, available_cores())
    export(data / "multi30k", run, work / "heed")
    convert(run, work / "ctranslate2")
    convert_bundle(arguments.small or catalog.find(None, "translate"), work / "small")
    networks = {"base": (work, ""), "small": (work / "small", "small_")}
    for directory, prefix in (networks[name] for name in networks if name in arguments.parts):
        result |= measure(directory, texts, arguments.rounds, prefix)
        if arguments.pruning:
            result |= price_of_pruning(directory / "heed", data, prefix)
    if arguments.student:
        if not (work / "student").exists():
            shutil.copytree(arguments.student, work / "student" / "heed")
        result |= measure_student(work / "student", work, data, arguments.lines, arguments.rounds)
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
