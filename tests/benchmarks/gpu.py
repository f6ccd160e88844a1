"""What heed does on a GPU, in one run of at most ten minutes: training, translation, and ways to run a decoding step.

    python tests/benchmarks/gpu.py --data DIR --work runs/gpu

DIR holds multi30k/{train,val,test_2016_flickr}.{en,de}.gz. It trains the `base` network for some minutes (target tokens
a second, and the share of the device's peak), exports it in float16, translates with it and with CTranslate2 in
float16 (same weights, in turn, each at its best batch size), and measures one step of the decoder in three ways: inputs
copied at each step, as heed does; inputs that stay on the device; and these as a CUDA graph. The last line is JSON;
what a machine lacks is null there. With `--device cpu --tiny` it runs anywhere, to be tried out. Needs the `bench`
extra and, for a GPU, `onnxruntime-gpu[cuda,cudnn]` in the place of onnxruntime.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from peer_models import pieces_of, write_weights

from heed.models.decoding.config import DecodeConfig
from heed.models.runtime.session import PROVIDERS, REFUSALS
from heed.models.tasks.translation.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer

HEED = str(Path(sys.executable).with_name("heed"))
LONGEST = 64  # tokens of an output
ROUNDS, STEPS = 3, 50
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
Translate = Callable[[list[str], int, int], list[str]]  # of lines, a beam size and a batch size


def train(data: Path, run: Path, device: str, minutes: float, *, tiny: bool) -> dict[str, Any]:
    """Train; what the run's log says of its speed."""
    if not run.exists():
        command = [HEED, "train", "-o", str(run), "--device", device, "--minutes", str(minutes)]
        for option, name in (("", "train"), ("valid-", "val")):
            for side, language in (("src", "en"), ("tgt", "de")):
                command += [f"--{option}{side}", str(data / f"{name}.{language}.gz")]
        sizes = ["--preset", "tiny", "--vocab-size", "2000", "--steps", "30", "--valid-every", "30"]
        full = ["--preset", "base", "--norm-placement", "before", "--vocab-size", "16000", "--batch-tokens", "25000"]
        full += ["--warmup", "500", "--steps", "100000", "--valid-every", "500"]
        subprocess.run([*command, *(sizes if tiny else full)], check=True)
    records = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    found = {
        name: [float(record[key]) for record in records if record.get(key)]
        for name, key in (("train_tokens_per_second", "tokens_per_second"), ("train_mfu", "mfu"))
    }
    return {name: statistics.median(values) if values else None for name, values in found.items()}


def export(run: Path, work: Path, precision: str) -> None:
    """Write the network for both sides."""
    from heed.transformer.training.runs.run import TranslationRun

    if not (work / "heed").exists():
        subprocess.run([HEED, "export", str(run), "-o", str(work / "heed"), "--precision", precision], check=True)
    if not (work / "ctranslate2").exists():
        opened = TranslationRun.open(run)
        network = opened.load_network(opened.best()[0])
        write_weights(network, pieces_of(opened.tgt_tokenizer), work / "ctranslate2", precision)


def heed_side(bundle: Path, device: str) -> Translate:
    """heed."""
    translator = Translator.load(bundle, device=device, repair=False)

    def translate(lines: list[str], beam: int, batch: int) -> list[str]:
        config = DecodeConfig(beam_size=beam, max_length=LONGEST, beam_threshold=translator.config.beam_threshold)
        return [found.text for found in translator.translate(lines, config, batch_size=batch)]

    return translate


def peer_side(directory: Path, tokenizer: Tokenizer, device: str, precision: str) -> Translate:
    """CTranslate2."""
    import ctranslate2  # pyright: ignore[reportMissingImports]

    pieces = pieces_of(tokenizer)
    ids = {piece: i for i, piece in enumerate(pieces)}
    model = ctranslate2.Translator(str(directory), device=device, compute_type=precision)

    def translate(lines: list[str], beam: int, batch: int) -> list[str]:
        found = model.translate_batch(
            [[pieces[i] for i in line] + ["</s>"] for line in tokenizer.encode(lines)],
            beam_size=beam,
            length_penalty=0.6,
            max_batch_size=batch,
            max_decoding_length=LONGEST,
        )
        return tokenizer.decode([[ids[piece] for piece in one.hypotheses[0]] for one in found])

    return translate


def compare(sides: dict[str, Translate], lines: list[str], tokenizer: Tokenizer, batches: tuple[int, ...]) -> Any:
    """Tokens a second of each side, in turn, and heed's for one of the other's."""
    result: dict[str, float] = {}
    for name, beam in (("greedy", 1), ("beam4", 4)):
        chosen = {}
        for side, translate in sides.items():
            times = {batch: seconds(translate, lines, beam, batch)[0] for batch in batches}
            chosen[side] = min(times, key=times.__getitem__)
        rounds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(ROUNDS):
            for side, translate in sides.items():
                took, texts = seconds(translate, lines, beam, chosen[side])
                rounds[side].append(took)
                n_tokens = sum(map(len, tokenizer.encode(texts)))
                result[f"{side}_{name}_tokens_per_second"] = n_tokens / statistics.median(rounds[side])
        ratios = [theirs / ours for ours, theirs in zip(*rounds.values(), strict=True)]
        result[f"ratio_gpu_{name}"] = statistics.geometric_mean(ratios)
    return result


def seconds(work: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    """How long something took, and its result."""
    begin = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - begin, result


def step_times(bundle: Path, device: str, rows: int) -> dict[str, float | None]:
    """Microseconds of a decoder's step with one hypothesis for each row, by how its inputs get to the device."""
    sizes = {"B": rows, "R": rows, "T": 1, "C": 32, "M": 32, "1 or B": 1, "1 or T": 1, "top": 4}
    ways: dict[str, dict[str, str]] = {"copied": {}, "kept": {}, "graph": {"enable_cuda_graph": "1"}}
    result: dict[str, float | None] = {f"step_us_{name}": None for name in ways}
    for name, options in ways.items():
        if not options or device != "cpu":
            try:
                result[f"step_us_{name}"] = step_time(bundle, device, options, sizes, copies=name == "copied")
            except REFUSALS as error:  # CUDA captures no graph with operators on the CPU
                print(f"{name}: {str(error).splitlines()[0]}")
    return result


def step_time(bundle: Path, device: str, options: dict[str, str], sizes: dict[str, int], *, copies: bool) -> float:
    """Microseconds of a step; `copies`: small inputs are copied to the device each time."""
    session = onnxruntime.InferenceSession(bundle / "decoder.onnx", providers=[(PROVIDERS[device], options)])
    binding, arrays = session.io_binding(), inputs(session, sizes)
    for name, array in arrays.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device))
    for output in session.get_outputs():
        if output.name != "log_probs":
            binding.bind_output(output.name, device)
    small = {name: array for name, array in arrays.items() if not name.startswith(("past_", "memory_"))}

    def step() -> None:
        for name, array in small.items() if copies else ():
            binding.bind_cpu_input(name, array)
        session.run_with_iobinding(binding)

    step()
    return 1e6 * statistics.median(seconds(step)[0] for _ in range(STEPS))


def inputs(session: onnxruntime.InferenceSession, sizes: dict[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of a decoder: zeros, but for masks, and for rows and tokens, which are all computed."""
    found = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else sizes[size] for size in value.shape]
        array: np.ndarray[Any, Any] = np.zeros(shape, TYPES[value.type])
        if value.name in ("mask", "src_mask"):
            array[...] = True
        elif value.name in ("tokens", "rows"):
            array[...] = np.arange(array.size).reshape(shape)
        elif value.name == "top":
            array[...] = sizes["top"]
        found[value.name] = array
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with multi30k/")
    parser.add_argument("--work", type=Path, required=True, help="directory for the run and both models")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=4, help="of training")
    parser.add_argument("--tiny", action="store_true", help="a tiny network and few lines, to try the script out")
    arguments = parser.parse_args()
    work, device, data = arguments.work, arguments.device, arguments.data / "multi30k"
    work.mkdir(parents=True, exist_ok=True)
    precision = "float16" if device == "cuda" else "float32"
    result = train(data, work / "run", device, arguments.minutes, tiny=arguments.tiny)
    export(work / "run", work, precision)
    tokenizer = Tokenizer.load(work / "heed" / "tokenizer.model")
    text = gzip.decompress((data / "test_2016_flickr.en.gz").read_bytes()).decode().split("\n")[:-1]
    lines, batches = (text[:32], (16,)) if arguments.tiny else (text * 4, (64, 256, 512))
    sides = {
        "heed": heed_side(work / "heed", device),
        "peer": peer_side(work / "ctranslate2", tokenizer, device, precision),
    }
    result |= compare(sides, lines, tokenizer, batches)
    result |= step_times(work / "heed", device, 8 if arguments.tiny else 64)
    print(json.dumps({name: value and round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
