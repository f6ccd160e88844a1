"""What several test files share."""

import dataclasses
import io
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

# Threads of torch sleep while they wait for one another, because tests share the cores. OpenMP reads this when torch is
# loaded, here and in the programs that tests start.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import hypothesis
import pytest
import sentencepiece
import torch
from click.testing import CliRunner, Result
from hypothesis import strategies as st

from heed.cli.main import main
from heed.models.spec.network import NetworkSpec
from heed.models.spec.options import changed
from heed.models.spec.positions import Learned, RelativeBuckets, RelativeSinusoids, Rotary, RotaryScaling, Sinusoidal
from heed.models.spec.preset import complete, preset, sized
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.preparation import translation_run
from heed.transformer.data.vocabulary import train_tokenizer
from heed.transformer.model import Transformer
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")

# Random networks


@st.composite
def attention_specs(draw: st.DrawFn) -> AttentionSpec:
    n_kv_heads = draw(st.integers(1, 2))
    return AttentionSpec(
        n_heads=n_kv_heads * draw(st.integers(1, 2)),
        n_kv_heads=n_kv_heads,
        d_head=draw(st.sampled_from([4, 6, 8])),
        biases=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        scale=draw(st.sampled_from([None, 1.0, 0.2])),
        qk_norm=draw(st.booleans()),
        window=draw(st.sampled_from([None, None, 3])),
        soft_cap=draw(st.sampled_from([None, None, 2.0])),
    )


def scalings() -> st.SearchStrategy[RotaryScaling]:
    return st.builds(
        RotaryScaling,
        method=st.sampled_from(["linear", "llama3", "yarn"]),
        factor=st.sampled_from([2.0, 4.0]),
        original_positions=st.just(16),
        beta_fast=st.just(4.0),
    )


def positions() -> st.SearchStrategy[Any]:
    offsets = st.sampled_from([0, 2])
    return st.one_of(
        st.builds(
            Sinusoidal,
            layout=st.sampled_from(["interleaved", "halves"]),
            spacing=st.sampled_from(["paper", "tensor2tensor"]),
            offset=offsets,
        ),
        st.builds(Learned, n_positions=st.just(24), offset=offsets),
        st.builds(
            Rotary,
            n_positions=st.just(24),
            base=st.sampled_from([100.0, 10000.0]),
            d_rotary=st.sampled_from([None, 2, 4]),
            interleaved=st.booleans(),
            scaling=st.none() | scalings(),
        ),
        st.builds(RelativeBuckets, n_buckets=st.sampled_from([4, 8]), max_distance=st.sampled_from([9, 20])),
    )


def encoder_positions() -> st.SearchStrategy[Any]:
    return st.one_of(positions(), st.builds(RelativeSinusoids, last_apart=st.booleans()))


def stacks(vocab_size: int, places: st.SearchStrategy[Any]) -> st.SearchStrategy[StackSpec]:
    feed_forwards = st.builds(
        FeedForwardSpec,
        d_ff=st.sampled_from([8, 20]),
        activation=st.sampled_from(["relu", "gelu", "gelu_tanh", "silu"]),
        gated=st.booleans(),
        biases=st.booleans(),
    )
    norms = st.builds(
        NormSpec,
        kind=st.sampled_from(["layer", "rms"]),
        placement=st.sampled_from(["after", "before"]),
        eps=st.sampled_from([1e-6, 1e-3]),
        bias=st.booleans(),
        last=st.booleans(),
        embedding=st.booleans(),
    )
    return st.builds(
        StackSpec,
        vocab_size=st.just(vocab_size),
        n_layers=st.integers(1, 3),
        attention=attention_specs(),
        feed_forward=feed_forwards,
        norm=norms,
        positions=places,
    )


def recurrent(stack: StackSpec) -> StackSpec:
    """A decoder with a recurrence in place of self-attention."""
    attention = dataclasses.replace(stack.attention, window=None)
    places = stack.positions if isinstance(stack.positions, Learned) else Sinusoidal(offset=1)
    return dataclasses.replace(stack, attention=attention, positions=places, recurrence="ssru")


@st.composite
def network_specs(draw: st.DrawFn) -> NetworkSpec:
    shared, there = draw(st.booleans()), draw(st.sampled_from(["both", "both", "decoder", "encoder"]))
    encoder = draw(stacks(11, encoder_positions())) if there != "decoder" else None
    decoder = draw(stacks(11 if shared else 13, positions())) if there != "encoder" else None
    if there == "both" and decoder and draw(st.booleans()):
        decoder = recurrent(decoder)
    return NetworkSpec(
        d_model=draw(st.sampled_from([8, 12])),
        encoder=encoder,
        decoder=decoder,
        scale_embedding=draw(st.booleans()),
        shared_embedding=shared,
        tied_output=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        output_scale=draw(st.sampled_from([None, 0.3])),
        output_soft_cap=draw(st.sampled_from([None, 3.0])),
        output_transform=draw(st.sampled_from([None, "gelu", "relu"])),
        dropout=0.0,
    )


# How long an example takes is the machine's affair: on a busy one any deadline fails.
hypothesis.settings.register_profile("heed", deadline=None, max_examples=50)  # slow tests ask for thousands
hypothesis.settings.load_profile("heed")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads; a command that a test runs may have set more."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    """A test draws the same weights whichever ran before it."""
    torch.manual_seed(1)


@pytest.fixture(scope="session", autouse=True)
def core(worker_id: str) -> None:
    """Each process of pytest-xdist has a core of its own, so that the threads of commands do not wait for others."""
    cores = sorted(os.sched_getaffinity(0))
    if worker_id != "master":
        os.sched_setaffinity(0, {cores[int(worker_id.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session", autouse=True)
def signals() -> None:
    """Programs that tests start hear Ctrl-C also where the tests do not: in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_habits() -> None:
    """Nothing is read from what the developer has set for a heed of their own."""
    for name in [name for name in os.environ if name.startswith("HEED_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def digit_lines() -> Callable[[int, int], list[str]]:
    """Makes lines of 2 to 6 digits with spaces between: how many, by which seed."""

    def make(n_lines: int, seed: int) -> list[str]:
        chosen = random.Random(seed)
        numbers = (chosen.choices("0123456789", k=chosen.randint(2, 6)) for _ in range(n_lines))
        return [" ".join(number) for number in numbers]

    return make


@pytest.fixture(scope="session")
def digits(digit_lines: Callable[[int, int], list[str]]) -> Tokenizer:
    """A tokenizer of somebody else's, for which each digit with the space before it is one token."""
    model = io.BytesIO()
    special: dict[str, Any] = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}
    # 4 special pieces, the space, 10 digits, and 10 digits with a space.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(digit_lines(500, 0)),
        model_writer=model,
        model_type="bpe",
        vocab_size=25,
        minloglevel=2,
        **special,
    )
    return Tokenizer(model.getvalue(), "digits")


class Describe(Protocol):
    """Describes a small network, given its task, the sizes of its vocabularies, and the options that differ."""

    def __call__(
        self, task: str = "translate", /, *, vocab_size: int = 11, src_vocab_size: int | None = None, **options: object
    ) -> NetworkSpec: ...


SMALL = {"n_layers": 2, "d_model": 16, "d_ff": 24, "n_heads": 2}
FORMS: dict[str, tuple[str, dict[str, object]]] = {  # by the task: a preset, and what differs
    "translate": ("tiny", {}),
    "generate": ("gpt2", {"context": 24}),
}


@pytest.fixture(scope="session")
def describe() -> Describe:
    """Describes small networks; options are those of `heed.models.spec.options`."""

    def describe(
        task: str = "translate", /, *, vocab_size: int = 11, src_vocab_size: int | None = None, **options: object
    ) -> NetworkSpec:
        name, usual = FORMS[task]
        table = changed(complete(preset(name)["network"]), {**SMALL, **usual, **options})
        src_size = vocab_size if src_vocab_size is None else src_vocab_size
        return sized(table, src_size, vocab_size, joint=src_size == vocab_size)

    return describe


@pytest.fixture(scope="session")
def draw() -> Callable[[NetworkSpec], Transformer]:
    """Makes a network of a description in which every parameter counts: none is 0 or 1, and attention far from even."""

    def draw(spec: NetworkSpec) -> Transformer:
        network = Transformer(spec).eval()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3 + name.endswith("norm.weight"))
        return network

    return draw


@pytest.fixture(scope="session")
def specs() -> st.SearchStrategy[NetworkSpec]:
    """Small networks of all forms."""
    return network_specs()


@pytest.fixture(scope="session")
def draw_network(describe: Describe) -> Callable[..., Transformer]:
    """Makes a small network that translates, given options, in which every parameter counts."""

    def draw(**options: Any) -> Transformer:
        torch.manual_seed(7)
        network = Transformer(describe("translate", **options)).eval()
        with torch.no_grad():
            for name, parameter in network.named_parameters():  # fresh biases are 0, and fresh norms scale by 1
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
                elif "cross_attention" in name:
                    parameter.mul_(4)  # so that outputs depend on the source
        return network

    return draw


@pytest.fixture(scope="session")
def verbatim() -> TextTokenizer:
    """A tokenizer of any text, with pieces of several letters."""
    lines = ["the cat sat on the mat\n", "the dog ate the cat\n", "a hat, a rat, and that\n"] * 20
    return TextTokenizer(train_tokenizer(lines, vocab_size=290, name="cats", verbatim=True), "cats")


@pytest.fixture(scope="session")
def draw_language_model(describe: Describe) -> Callable[..., Transformer]:
    """Makes a small network that continues text, given options, whose predictions depend on all that it reads."""

    def draw(**options: Any) -> Transformer:
        torch.manual_seed(7)
        network = Transformer(describe("generate", **options)).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        return network

    return draw


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[[str, list[str]], str]:
    """Writes a text file, a line each, and returns its name."""

    def write(name: str, lines: list[str]) -> str:
        path = tmp_path / name
        path.write_text("".join(line + "\n" for line in lines), "utf-8")
        return str(path)

    return write


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes the directory of a run of a name, of which only the log and the kind count."""

    def write(name: str, records: Sequence[Mapping[str, object]], kind: str = "encoder-decoder") -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        (run / "config.toml").write_text(f'format = 1\nkind = "{kind}"\n[model]\n[train]\n', "utf-8")
        (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
        return run

    return write


@pytest.fixture(scope="session")
def program() -> Path:
    """The installed command, for what only a process of its own shows."""
    return Path(sys.executable).with_name("heed")


@pytest.fixture(scope="session")
def heed() -> Callable[..., Result]:
    """Runs the command line in this process; an exception that is no exit status fails the test."""

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            return CliRunner(catch_exceptions=False).invoke(main, [str(argument) for argument in arguments], stdin)
        finally:
            signal.signal(signal.SIGINT, interrupt)

    return run


@pytest.fixture(scope="module")  # not longer: while it is there, nothing else runs an event loop in this thread
def browser() -> Iterator[Any]:
    """A browser that shows pages; tests that need it are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((path for path in CHROMIUM if Path(path).exists()), None)
    if path is None:
        pytest.skip("no Chromium at " + ", ".join(CHROMIUM))
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    digit_lines: Callable[[int, int], list[str]],
    digits: Tokenizer,
    heed: Callable[..., Result],
) -> Path:
    """A run of `heed train`, long enough that different lines have different translations. Do not write to it."""
    directory = tmp_path_factory.mktemp("trained")
    text = directory / "digits"
    text.write_text("".join(line + "\n" for line in digit_lines(400, 1)), "utf-8")
    network = ["--preset", "tiny", "--d-model", "16", "--d-ff", "32", "--n-heads", "2", "--norm-placement", "before"]
    (directory / "digits.model").write_bytes(digits.model)
    vocabulary = ["--tokenizer", str(directory / "digits.model")]
    training = [*vocabulary, "--batch-tokens", "512", "--warmup", "30", "--dropout", "0", "--steps", "150"]
    rest = ["--valid-every", "50", "--precision", "float32", "--device", "cpu", "--threads", "1"]
    languages = ["--src-language", "digits", "--tgt-language", "numbers"]
    run = directory / "run"
    result = heed("train", "--src", text, "--tgt", text, "-o", run, *network, *training, *rest, *languages)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="session")
def bundle(trained: Path, heed: Callable[..., Result]) -> Path:
    """The bundle of that run, in float32. Do not write to it."""
    path = trained.parent / "bundle"
    result = heed("export", trained, "-o", path, "--licence", "CC0", "--trained-on", "digits drawn at random")
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def trained_text(
    tmp_path_factory: pytest.TempPathFactory,
    digit_lines: Callable[[int, int], list[str]],
    heed: Callable[..., Result],
) -> Path:
    """A run of `heed train --text`, long enough that it knows digits from spaces. Do not write to it."""
    directory = tmp_path_factory.mktemp("trained_text")
    text = directory / "digits.txt"
    text.write_text("".join(line + "\n" for line in digit_lines(400, 1)), "utf-8")
    network = ["--n-layers", "2", "--d-model", "32", "--d-ff", "32", "--n-heads", "2", "--n-kv-heads", "1"]
    training = ["--batch-tokens", "480", "--warmup", "5", "--dropout", "0", "--steps", "60", "--context", "48"]
    rest = ["--vocab-size", "272", "--valid-every", "30", "--precision", "float32", "--device", "cpu", "--threads", "1"]
    run = directory / "run"
    result = heed("train", "--text", text, "-o", run, *network, *training, *rest)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="session")
def text_bundle(trained_text: Path, heed: Callable[..., Result]) -> Path:
    """The bundle of that run, in float32. Do not write to it."""
    path = trained_text.parent / "text_bundle"
    result = heed("export", trained_text, "-o", path, "--licence", "CC0", "--trained-on", "digits drawn at random")
    assert result.exit_code == 0, result.stderr
    return path


class MakeDigitRun(Protocol):
    """Makes a run of so many pairs, given the settings that differ."""

    def __call__(
        self, name: str = "run", /, *, n_pairs: int = 60, dropout: float = 0.1, **wishes: object
    ) -> TranslationRun: ...


@pytest.fixture
def make_digit_run(
    digits: Tokenizer,
    digit_lines: Callable[[int, int], list[str]],
    write_lines: Callable[[str, list[str]], str],
    tmp_path: Path,
) -> MakeDigitRun:
    """Makes runs of a tiny network on pairs of digits."""
    (tmp_path / "digits.model").write_bytes(digits.model)

    def make(name: str = "run", /, *, n_pairs: int = 60, dropout: float = 0.1, **wishes: object) -> TranslationRun:
        files = {
            "src": (write_lines("train.src", digit_lines(n_pairs, 1)),),
            "tgt": (write_lines("train.tgt", digit_lines(n_pairs, 2)),),
            "valid_src": (write_lines("valid.src", ["1 2", "3"]),),
            "valid_tgt": (write_lines("valid.tgt", ["2 1", "3"]),),
            "tokenizer": (str(tmp_path / "digits.model"),),
        }
        sizes = {"n_layers": 1, "d_model": 16, "d_ff": 24, "n_heads": 2, "dropout": dropout}
        network = changed(complete(preset("tiny")["network"]), sizes)
        settings = {"batch_tokens": 60, "warmup": 30, "precision": "float32", "steps": 12, "valid_every": 3}
        config = TranslationConfig(**files | settings | wishes)  # type: ignore[arg-type]
        run, _ = translation_run.new_run(tmp_path / name, network, config)
        return run

    return make
