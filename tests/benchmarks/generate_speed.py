"""Speed of one stream of generated text against CTranslate2 and llama.cpp: the same weights, in turn.

    python tests/benchmarks/generate_speed.py --work runs/generate
    python tests/benchmarks/generate_speed.py --work runs/long --prompt 780

WORK gets a prompt, a network of GPT-2's smallest shape (124M parameters) with random weights, its graphs in int8 and
int4, and the same weights for CTranslate2 (int8) and for llama.cpp (Q8_0 and Q4_0; it is left out where the packages
gguf and llama_cpp are missing). Huge pages, which heed asks for by itself, llama.cpp gets from a setting of glibc: it
runs as it comes, and "huge". Each side is a process of its own for each number of threads and each setting. It says
how far its logits are from PyTorch's, and goes on with a prompt by the likeliest tokens, heed through the class that
its command line uses; seconds are those from the first token to the last. After a trial the best settings run in
turn, and between the rounds the bandwidth of memory is measured: what a token's weights take to be read is the limit.
The last line is JSON. Needs the `bench` extra.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heed.models.arrays import FloatArray
from heed.models.decoding.drafts import Drafts
from heed.models.decoding.sampling import SampleConfig
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.protocol import Network
from heed.models.spec.preset import complete, preset, sized
from heed.models.system.processor import available_cores
from heed.models.tasks.generator import Generator
from heed.models.tokenizers.lossless import TextTokenizer

TOKENS, TRIAL = 200, 50  # generated, and generated to choose settings
SPEC = sized(complete(preset("gpt2")["network"]), 50257, 50257, joint=True)  # GPT-2's smallest
assert SPEC.decoder is not None
STACK = SPEC.decoder
V, CONTEXT = STACK.vocab_size, STACK.n_positions or 0
POSITIONS = CONTEXT * SPEC.d_model * 4  # bytes of weights of which a token reads only a row
Settings = dict[str, Any]
State = Mapping[str, FloatArray]
GGUF = ("Q8_0", "Q4_0")
FORMS = {"heed": ("int8", "int4"), "CTranslate2": ("int8",), "llama.cpp": GGUF, "huge llama.cpp": GGUF}
CHOICES: dict[str, list[Settings]] = {
    "heed": [{}],
    "CTranslate2": [{"isa": "AVX2"}, {"isa": "AVX512"}],
    "llama.cpp": [{"flash_attn": False}, {"flash_attn": True}],
    "huge llama.cpp": [{"flash_attn": True, "use_mmap": False}],  # no file is mapped to huge pages
}
PEERS = {
    "int8": ("CTranslate2 int8", "llama.cpp Q8_0", "huge llama.cpp Q8_0"),
    "int4": ("CTranslate2 int8", "llama.cpp Q4_0", "huge llama.cpp Q4_0"),
}


# The same weights for all


def make(work: Path, n_prompt: int) -> None:
    """Draw a prompt of so many tokens and the weights, and write them for all sides, unless that is done."""
    if (work / "reference.npy").exists():
        return
    import torch

    from heed.export.exporter import write_graphs
    from heed.export.onnx.calibration.cache_scales import cache_scales
    from heed.export.onnx.calibration.calibration import Calibration
    from heed.models.tokenizers.subwords import write_tokenizers
    from heed.transformer.data.vocabulary import train_tokenizer
    from heed.transformer.decoding import TorchNetwork
    from heed.transformer.model import Transformer

    torch.manual_seed(1)
    network = Transformer(SPEC).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):  # fresh ones are 0, and would not be missed
            torch.nn.init.normal_(parameter, std=0.02)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))[np.random.default_rng(1).integers(0, 26, (12_000, 8, 5))]
    lines = [" ".join("".join(word) for word in line) for line in letters]
    pieces = train_tokenizer(lines, vocab_size=V, name="words", verbatim=True)
    work.mkdir(parents=True, exist_ok=True)
    write_prompt(work, TextTokenizer(pieces, "words"), n_prompt)
    scales = cache_scales(network, np.random.default_rng(3).integers(1000, V, (8, 512)).tolist())
    for precision in FORMS["heed"]:
        (work / precision).mkdir(exist_ok=True)
        write_graphs(network, precision, work / precision, None, Calibration(scales))
        write_tokenizers(work / precision, (pieces, pieces))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for number, part in itertools.product(range(STACK.n_layers), ("weight", "bias")):
        name = f"decoder.layers.{number}.self_attention"
        parts = [state[f"{name}.{projection}.{part}"] for projection in ("query", "key", "value")]
        state[f"{name}.qkv.{part}"] = np.concatenate(parts)
    write_ctranslate2({name: array.copy() for name, array in state.items()}, work / "ctranslate2")  # rounded in place
    if has_llama():
        for form in GGUF:
            write_gguf(state, form, work / f"{form}.gguf")
    np.save(work / "reference.npy", first_log_probs(TorchNetwork(network), prompt(work)[1]))


def has_llama() -> bool:
    """Whether llama.cpp can take part."""
    return all(importlib.util.find_spec(name) for name in ("gguf", "llama_cpp"))


def write_prompt(work: Path, tokenizer: TextTokenizer, n_tokens: int) -> None:
    """Write a text that has so many tokens with the beginning token."""
    text = tokenizer.decode(np.random.default_rng(2).integers(1000, V, n_tokens).tolist())
    while len(tokenizer.encode(text)) >= n_tokens:
        text = text[:-1]
    (work / "prompt.txt").write_text(text, "utf-8")


def prompt(work: Path) -> tuple[str, list[int]]:
    """The text and its token ids, from the beginning token on."""
    text, tokenizer = (work / "prompt.txt").read_text("utf-8"), TextTokenizer.load(work / "int8")
    return text, [tokenizer.bos_id, *tokenizer.encode(text)]


def first_log_probs(network: Network, ids: list[int]) -> FloatArray:
    """The log-probabilities of what may follow a prompt, (V,)."""
    state = network.state()
    state.prefill(np.array([ids]), np.ones((1, len(ids)), dtype=bool), alone=True)
    return state.log_probs(np.array([ids[-1:]]), 0, None, np.ones((1, 1, 1), dtype=bool))[0, 0]


def write_ctranslate2(state: State, directory: Path) -> None:
    """Convert the weights for CTranslate2, in int8."""
    from ctranslate2.specs import common_spec, transformer_spec  # pyright: ignore[reportMissingImports]

    spec: Any = transformer_spec.TransformerDecoderModelSpec.from_config(
        STACK.n_layers, STACK.attention.n_heads, pre_norm=True, activation=common_spec.Activation.GELUTanh
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = state["tgt_embedding.weight"]
    decoder.position_encodings.encodings = state["decoder.positions.weight"]

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = state[f"{name}.weight"], state[f"{name}.bias"]

    def linear(target: Any, name: str) -> None:
        target.weight, target.bias = state[f"{name}.weight"], state[f"{name}.bias"]

    norm(decoder.layer_norm, "decoder.norm")
    for number, layer in enumerate(decoder.layer):
        name = f"decoder.layers.{number}"
        norm(layer.self_attention.layer_norm, f"{name}.self_residual.norm")
        linear(layer.self_attention.linear[0], f"{name}.self_attention.qkv")
        linear(layer.self_attention.linear[1], f"{name}.self_attention.output")
        norm(layer.ffn.layer_norm, f"{name}.feed_residual.norm")
        linear(layer.ffn.linear_0, f"{name}.feed_forward.inner")
        linear(layer.ffn.linear_1, f"{name}.feed_forward.outer")
    spec.register_vocabulary([str(i) for i in range(V)])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "0"
    spec.validate()
    spec.optimize(quantization="int8")
    directory.mkdir(exist_ok=True)
    spec.save(str(directory))


def write_gguf(state: State, form: str, path: Path) -> None:
    """Convert the weights for llama.cpp, in Q8_0 or Q4_0."""
    import gguf  # pyright: ignore[reportMissingImports]

    file: Any = gguf.GGUFWriter(path, "gpt2")
    file.add_block_count(STACK.n_layers)
    file.add_context_length(CONTEXT)
    file.add_embedding_length(SPEC.d_model)
    file.add_feed_forward_length(STACK.feed_forward.d_ff)
    file.add_head_count(STACK.attention.n_heads)
    file.add_layer_norm_eps(1e-5)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([str(i) for i in range(V)])
    file.add_token_types([gguf.TokenType.NORMAL] * V)
    file.add_token_merges(["0 0"])
    names = {"token_embd": "tgt_embedding", "position_embd": "decoder.positions", "output_norm": "decoder.norm"}
    for number in range(STACK.n_layers):
        theirs, ours = f"blk.{number}", f"decoder.layers.{number}"
        names |= {
            f"{theirs}.attn_norm": f"{ours}.self_residual.norm",
            f"{theirs}.ffn_norm": f"{ours}.feed_residual.norm",
        }
        names |= {f"{theirs}.attn_{part}": f"{ours}.self_attention.{part}" for part in ("qkv", "output")}
        names |= {f"{theirs}.ffn_up": f"{ours}.feed_forward.inner", f"{theirs}.ffn_down": f"{ours}.feed_forward.outer"}
    kind = gguf.GGMLQuantizationType[form]
    for name, part in itertools.product(names, ("weight", "bias")):
        array = state.get(f"{names[name]}.{part}")
        if array is None:  # embeddings have no bias
            continue
        if array.ndim == 2 and name != "position_embd":
            file.add_tensor(f"{name}.{part}", gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            file.add_tensor(f"{name}.{part}", array)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


# The sides, each in a process of its own


class Heed:
    """heed, from text to text, by the class that its command line uses.

    Like the others, it has the logits of what may follow the prompt, (V,), but for what is added to all, and goes on
    with the prompt by a number of tokens, telling when each is made.
    """

    def __init__(self, work: Path, form: str, threads: int) -> None:
        self._prompt, self._ids = prompt(work)
        files = [file.name for file in (work / form).iterdir()]
        self._network = OnnxNetwork(work / form, SPEC, files, device="cpu", threads=threads)
        self._generator = Generator(self._network, TextTokenizer.load(work / form))
        Drafts.next = lambda *_: []  # type: ignore[method-assign] # the other programs have none

    def logits(self) -> FloatArray:
        return first_log_probs(self._network, self._ids)

    def generate(self, n_tokens: int, made: Callable[[], None]) -> None:
        for _ in self._generator.stream(self._prompt, SampleConfig(temperature=0, max_tokens=n_tokens)):
            made()


class CTranslate2:
    """CTranslate2, from tokens to tokens."""

    def __init__(self, work: Path, form: str, threads: int) -> None:
        import ctranslate2  # pyright: ignore[reportMissingImports]

        self._tokens = [str(i) for i in prompt(work)[1]]
        self._generator: Any = ctranslate2.Generator(
            str(work / "ctranslate2"), compute_type=form, inter_threads=1, intra_threads=threads
        )

    def logits(self) -> FloatArray:
        return np.array(self._generator.forward_batch([self._tokens]))[0, -1]

    def generate(self, n_tokens: int, made: Callable[[], None]) -> None:
        limits = {"max_length": n_tokens, "min_length": n_tokens}
        self._generator.generate_batch([self._tokens], callback=lambda _: made(), **limits)


class Llama:
    """llama.cpp, from tokens to tokens, by its package's functions for them: its sampler takes longer than argmax."""

    def __init__(self, work: Path, form: str, threads: int, **settings: Any) -> None:
        import llama_cpp  # pyright: ignore[reportMissingImports]

        self._ids, self._library = prompt(work)[1], llama_cpp
        self._model: Any = llama_cpp.Llama(
            str(work / f"{form}.gguf"),
            n_ctx=CONTEXT,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
            **settings,
        )

    def logits(self) -> FloatArray:
        self._model.reset()
        self._model.eval(self._ids)
        return self._last().copy()

    def generate(self, n_tokens: int, made: Callable[[], None]) -> None:
        self._model.reset()
        self._model.eval(self._ids)
        for _ in range(n_tokens):
            token = int(self._last().argmax())
            made()
            self._model.eval([token])

    def _last(self) -> FloatArray:
        return np.ctypeslib.as_array(self._library.llama_get_logits(self._model.ctx), shape=(V,))


def _clock(clocks: list[tuple[float, float]]) -> None:
    clocks.append((time.perf_counter(), time.process_time()))


def serve(side: Heed | CTranslate2 | Llama, work: Path) -> None:
    """Say how far the logits are from PyTorch's; then answer numbers of tokens on stdin with what one of them costs.

    That is seconds and processor seconds, from the first token to the last.
    """
    ours, theirs = (logits - logits.mean() for logits in (side.logits(), np.load(work / "reference.npy")))
    print(json.dumps({"error": float(np.sqrt(np.square(ours - theirs).mean()) / theirs.std())}), flush=True)
    for line in sys.stdin:
        clocks: list[tuple[float, float]] = []
        side.generate(int(line) + 1, functools.partial(_clock, clocks))
        assert len(clocks) == int(line) + 1, "the text ended"
        seconds, cpu_seconds = (np.array(clocks[-1]) - clocks[0]) / int(line)
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)


SIDES: dict[str, Any] = {"heed": Heed, "CTranslate2": CTranslate2, "llama.cpp": Llama, "huge llama.cpp": Llama}


class Process:
    """A side at work.

    Args:
        work: Where the weights are.
        name, form: Of the side and its weights.
        threads: Of the processor.
        choice: Its other settings.
    """

    def __init__(self, work: Path, name: str, form: str, threads: int, choice: Settings) -> None:
        self.name, self.threads, self.choice = f"{name} {form}", threads, choice
        self.rounds: list[dict[str, float]] = []
        settings = {"name": name, "form": form, "threads": threads, **choice}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work", str(work), "--serve", json.dumps(settings)],
            env={
                **os.environ,
                "CT2_FORCE_CPU_ISA": choice.get("isa", ""),
                "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1" if name.startswith("huge") else "",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.error: float = self._answer()["error"]

    def generate(self, n_tokens: int) -> dict[str, float]:
        """What a token costs, in seconds and processor seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n_tokens}\n")
        self._process.stdin.flush()
        return self._answer()

    def seconds(self) -> float:
        """What a token costs in the median of the rounds."""
        return statistics.median(found["seconds"] for found in self.rounds)

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found


# The comparison


def bandwidth(memory: FloatArray) -> float:
    """Bytes a second that all cores read: BLAS divides the product among them."""
    begin = time.perf_counter()
    np.dot(memory, memory)
    seconds = time.perf_counter() - begin
    time.sleep(0.2)  # until its threads have come to rest
    return memory.nbytes / seconds


def best_choice(work: Path, name: str, form: str, threads: int) -> Process:
    """A side with the settings that were fastest in a trial."""
    tried = [Process(work, name, form, threads, choice) for choice in CHOICES[name]]
    seconds = [process.generate(TRIAL)["seconds"] for process in tried]
    best = tried[int(np.argmin(seconds))]
    for process, found in zip(tried, seconds, strict=True):
        words = " ".join(f"{key} {value}" for key, value in [("threads", threads), *process.choice.items()])
        print(f"{process.name}, {words}: {found * 1e3:.2f} ms a token; logits off by {process.error:.1%}", flush=True)
        if process is not best:
            process.close()
    return best


def describe(process: Process) -> str:
    """The figures of all rounds."""
    seconds = [found["seconds"] for found in process.rounds]
    cpu = statistics.median(found["cpu_seconds"] for found in process.rounds) * 1e3
    speeds = f"median {1 / process.seconds():6.1f}, best {1 / min(seconds):6.1f} tokens/s"
    return f"{process.name:16} threads {process.threads}: {speeds}; {cpu:5.2f} ms of the processor a token"


def ratio(ours: Process, theirs: Process) -> float:
    """How many times as fast one side is as the other, in the median of the rounds."""
    pairs = zip(theirs.rounds, ours.rounds, strict=True)
    return round(statistics.median(their["seconds"] / our["seconds"] for their, our in pairs), 2)


def measure(work: Path, rounds: int) -> dict[str, Any]:
    """All figures."""
    counts = sorted({1, available_cores()})
    names = [name for name in FORMS if SIDES[name] is not Llama or has_llama()]
    processes = [best_choice(work, name, form, threads) for name in names for form in FORMS[name] for threads in counts]
    memory, limit, order = np.ones(1 << 28, dtype=np.float32), 0.0, random.Random(1)
    for _ in range(rounds):
        limit = max(limit, bandwidth(memory))
        for process in order.sample(processes, len(processes)):  # who runs after whom makes no difference
            process.rounds.append(process.generate(TOKENS))
    for process in processes:
        print(describe(process))
        process.close()
    fastest: dict[str, Process] = {}
    for process in sorted(processes, key=Process.seconds):
        fastest.setdefault(process.name, process)
    result: dict[str, Any] = {name: round(1 / process.seconds(), 1) for name, process in fastest.items()}
    for form, peers in PEERS.items():
        ours = fastest[f"heed {form}"]
        ratios = {name: ratio(ours, fastest[name]) for name in peers if name in fastest}
        n_bytes = (work / form / "weights.bin").stat().st_size - POSITIONS
        share = n_bytes / limit / ours.seconds()
        result |= {f"ratios_{form}": ratios, f"ratio_{form}": min(ratios.values()), f"share_{form}": round(share, 2)}
        print(f"{form}: {n_bytes / 1e6:.1f} MB of weights a token")
    return {**result, "gigabytes_per_second": round(limit / 1e9, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="directory for the weights in all forms")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=64, help="tokens that are read before")
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work: Path = arguments.work
    if arguments.serve:
        settings: Settings = arguments.serve
        settings.pop("isa", None)  # CTranslate2 takes it from the environment
        serve(SIDES[settings.pop("name")](work, settings.pop("form"), **settings), work)
        return
    make(work, arguments.prompt)
    if not has_llama():
        print("without llama.cpp: gguf and llama_cpp are not installed")
    print(json.dumps(measure(work, arguments.rounds)))


if __name__ == "__main__":
    main()
