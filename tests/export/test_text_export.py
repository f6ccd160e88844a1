"""From a run on text to a bundle: ONNX Runtime against PyTorch, and the commands that go with it."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from torch import Tensor

from heed.export.exporter import write_graphs
from heed.export.importers.bundle import _Stored as Stored
from heed.export.importers.bundle import find_weights, from_bundle, read_arrays
from heed.export.onnx.calibration.cache_scales import cache_scales
from heed.export.onnx.calibration.calibration import Calibration
from heed.models.arrays import FloatArray, IntArray
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import Bundle
from heed.models.decoding.batching import padded, place
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.errors import ModelError
from heed.models.runtime import graphs as runtime
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.protocol import State
from heed.models.runtime.state import READ
from heed.models.spec.preset import network_spec
from heed.models.text.chat import ChatTemplate
from heed.transformer.attention import MultiHeadAttention
from heed.transformer.block import Block
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer
from heed.transformer.positions import Rotation
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.run import TextRun

Heed = Callable[..., Result]
Draw = Callable[..., Transformer]

V, CONTEXT = 50, 200
FORMS: dict[str, dict[str, object]] = {
    "gpt2": {},
    "no biases": {"biases": False},
    "modern": {
        "positions": "rotary",
        "norm_kind": "rms",
        "activation": "silu",
        "gated": True,
        "n_kv_heads": 1,
        "biases": False,
    },
    "rotary": {"positions": "rotary"},
}
PROMPTS = [[2, 5, 6, 7, 8], [2], [2, 9, 9], [2, *range(4, 40), *range(4, 40)]]


def draw(draw_language_model: Draw, form: str) -> Transformer:
    return draw_language_model(vocab_size=V, context=CONTEXT, d_model=32, **FORMS[form])


def exported(
    network: Transformer, precision: str, directory: Path, scales: dict[str, FloatArray] | None = None
) -> OnnxNetwork:
    files = write_graphs(network, precision, directory, None, Calibration(scales or {}))
    return OnnxNetwork(directory, network.spec, files, device="cpu", threads=1)


@pytest.fixture(params=FORMS)
def sides(
    request: pytest.FixtureRequest, draw_language_model: Draw, tmp_path: Path
) -> tuple[TorchNetwork, OnnxNetwork]:
    network = draw(draw_language_model, request.param)
    return TorchNetwork(network), exported(network, "float32", tmp_path)


def close(found: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def go_on(state: State, widths: list[int], seed: int, *, placed: bool = True) -> list[FloatArray]:
    """What is predicted along some steps, with some texts side by side in each; prompts leave midway."""
    random = np.random.default_rng(seed)
    state.prefill(*padded(PROMPTS), alone=not placed)
    tokens: IntArray = np.array([[prompt[-1]] for prompt in PROMPTS])
    seen, found = np.zeros((len(PROMPTS), 1, 0), dtype=bool), []
    for position, width in enumerate(widths):
        slots, mask = place(seen)
        found.append(state.log_probs(tokens, position, slots if placed else None, mask).copy())
        parents = random.integers(0, tokens.shape[1], width)
        seen = mask[:, parents]
        tokens = random.integers(4, V, (len(mask), width))
        if position == 3:
            rows = np.array([3, 1, 2])
            state.keep(rows)
            tokens, seen = tokens[rows], seen[rows]
    return found


@pytest.mark.parametrize("widths", [[1] * 80, [1, 3, 3, 3, 2, 2, 1, 1], [2, 2, 2, 2, 2]], ids=["one", "some", "two"])
def test_predictions_are_pytorch_s(sides: tuple[TorchNetwork, OnnxNetwork], widths: list[int]) -> None:
    """One text a prompt, which a graph of its own goes on with; several; and from several back to one."""
    theirs, ours = (go_on(side.state(), widths, seed=4) for side in sides)
    assert len(theirs) == len(widths)
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


def test_one_text_a_prompt_needs_no_slots(sides: tuple[TorchNetwork, OnnxNetwork]) -> None:
    for side in sides:
        found = (go_on(side.state(), [1] * 10, seed=4, placed=placed) for placed in (True, False))
        for one, other in zip(*found, strict=True):
            close(one, other)


def read(state: State, prompt: list[int], pieces: list[list[int]]) -> FloatArray:
    """What is predicted after each token of a lone output that is read in pieces; tokens below 0 are wrong drafts."""
    state.prefill(*padded([prompt]), alone=True)
    position, found = 0, []
    for piece in pieces:
        n_right = sum(token >= 0 for token in piece)
        log_probs = state.log_probs(np.abs([piece]), position, None, np.zeros((1, 1, 0), dtype=bool))
        found.append(log_probs[0, :n_right].copy())
        position += n_right
    return np.concatenate(found)


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_tokens_are_read_at_once_as_one_by_one_and_drafts_are_overwritten(
    sides: tuple[TorchNetwork, OnnxNetwork], prompt: list[int]
) -> None:
    expected = read(sides[0].state(), prompt, [[4], [5], [6], [7], [8], [9]])
    for side in sides:
        close(read(side.state(), prompt, [[4, 5, -7, -7], [6, -4], [7, 8, 9]]), expected)


def test_what_a_step_found_stays(sides: tuple[TorchNetwork, OnnxNetwork]) -> None:
    for side in sides:
        state = side.state()
        slots, mask = place(np.zeros((2, 1, 0), dtype=bool))
        state.prefill(*padded(PROMPTS[:2]))
        first = state.step(np.array([[5], [6]]), 0, slots, mask, 3)
        before = [array.copy() for array in first]
        slots, mask = place(mask)
        state.step(np.array([[7], [8]]), 1, slots, mask, 3)
        for one, other in zip(first, before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_room_is_used_again(sides: tuple[TorchNetwork, OnnxNetwork]) -> None:
    state = sides[1].state()
    first = go_on(state, [1, 2, 2, 2], seed=1)
    go_on(state, [1] * 30, seed=2)
    for one, other in zip(go_on(state, [1, 2, 2, 2], seed=1), first, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scores_are_pytorch_s(sides: tuple[TorchNetwork, OnnxNetwork], monkeypatch: pytest.MonkeyPatch) -> None:
    ids, targets = np.random.default_rng(1).integers(4, V, (2, 3, CONTEXT))
    theirs = sides[0].state().score(ids, targets)
    close(sides[1].state().score(ids, targets), theirs)
    assert READ > CONTEXT
    monkeypatch.setattr("heed.models.runtime.state.READ", 7)
    close(sides[1].state().score(ids, targets), theirs)


COARSE = 16  # times the usual steps: what is not rounded, or otherwise, shows


@pytest.fixture(params=FORMS)
def rounding_sides(
    request: pytest.FixtureRequest, draw_language_model: Draw, tmp_path: Path
) -> tuple[TorchNetwork, OnnxNetwork]:
    """A network whose keys and values are rounded when they are made, and graphs that keep them in integers."""
    network = draw(draw_language_model, request.param)
    scales = {name: each * COARSE for name, each in cache_scales(network, PROMPTS).items()}
    ours = exported(network, "float32", tmp_path, scales)
    assert network.decoder is not None
    for number, layer in enumerate(network.decoder.layers):
        assert isinstance(layer, Block)
        round_what_it_projects(
            layer.self_attention, *(torch.tensor(scales[f"{p}.{number}"]) for p in ("keys", "values"))
        )
    return TorchNetwork(network), ours


def round_what_it_projects(attention: MultiHeadAttention, *steps: Tensor) -> None:
    project = attention.project

    def rounded(x: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor]:
        k, v = (
            (each / step).round().clamp(-128, 127) * step
            for each, step in zip(project(x, rotation), steps, strict=True)
        )
        return k, v

    attention.project = rounded  # type: ignore[method-assign]


@pytest.mark.parametrize("longest", [1000, 10], ids=["by the stream", "by the decoder"])
def test_one_text_is_gone_on_with_by_keys_and_values_in_integers(
    rounding_sides: tuple[TorchNetwork, OnnxNetwork], longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever graph has read the prompts, in one part or in several."""
    monkeypatch.setattr("heed.models.runtime.state.LONG", longest)
    monkeypatch.setattr("heed.models.runtime.state.READ", 100)
    assert rounding_sides[1].rounds
    states = [side.state() for side in rounding_sides]
    for _ in range(2):  # in memory that is new, and in memory that was used
        theirs, ours = (go_on(state, [1] * 80, seed=4, placed=False) for state in states)
        for one, other in zip(ours, theirs, strict=True):
            close(one, other)


def test_several_texts_see_what_one_would(rounding_sides: tuple[TorchNetwork, OnnxNetwork]) -> None:
    theirs, ours = (go_on(side.state(), [1, 3, 3, 2, 2, 1, 1, 1], seed=4) for side in rounding_sides)
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


def test_scores_are_those_of_rounded_keys_and_values(
    rounding_sides: tuple[TorchNetwork, OnnxNetwork],
) -> None:
    ids, targets = np.random.default_rng(1).integers(4, V, (2, 3, CONTEXT))
    theirs, ours = (side.state().score(ids, targets) for side in rounding_sides)
    # A key that lies halfway between two integers goes up on one side and down on the other where the two differ by
    # the last bit of a float. Such a key is rare, and moves what sees it by one step of the rounding.
    assert np.isclose(ours, theirs, rtol=1e-4, atol=1e-4).mean() > 0.99
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.01)


def test_keys_and_values_of_a_type_that_nobody_knows_are_refused(
    draw_language_model: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(runtime.TYPES, "tensor(int8)")
    network = draw(draw_language_model, "gpt2")
    with pytest.raises(ModelError, match=f"^{tmp_path}: damaged: its graphs do not match"):
        exported(network, "float32", tmp_path, cache_scales(network, PROMPTS))


def test_integers_reach_further_than_what_was_seen(draw_language_model: Draw) -> None:
    network = draw(draw_language_model, "modern")
    scales = cache_scales(network, PROMPTS)
    state = TorchNetwork(network).state()
    largest: dict[str, Tensor] = {}
    for prompt in PROMPTS:
        state.prefill(*padded([[*prompt, 1]]))  # of which the last is not kept
        for number, cache in enumerate(state._prefilled.caches):
            for part in ("keys", "values"):
                seen: Tensor = getattr(cache.own, part)[0].abs().amax(dim=1, keepdim=True)
                largest[f"{part}.{number}"] = torch.maximum(largest.get(f"{part}.{number}", seen), seen)
    assert scales.keys() == largest.keys()
    for name, each in largest.items():
        np.testing.assert_allclose(scales[name] * 127, each * 1.25, rtol=1e-5)


def test_what_is_never_used_has_a_scale_too(draw_language_model: Draw) -> None:
    network = draw(draw_language_model, "gpt2")
    for name, parameter in network.named_parameters():
        if name.startswith("decoder.layers.0.self_attention.value."):
            torch.nn.init.zeros_(parameter)
    assert (cache_scales(network, PROMPTS)["values.0"] == 1).all()


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_search_finds_the_same(sides: tuple[TorchNetwork, OnnxNetwork], beam_size: int) -> None:
    config, special = (
        DecodeConfig(beam_size=beam_size, max_length=20),
        SpecialIds(bos_id=2, eos_id=3, suppressed=(0, 1, 2)),
    )
    theirs, ours = (search(side.state(), None, config, special, prompts=PROMPTS, n_best=beam_size) for side in sides)
    for one, other in zip(ours, theirs, strict=True):
        assert [found.tokens for found in one] == [found.tokens for found in other]
        close(np.array([found.score for found in one]), np.array([found.score for found in other]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("precision", "nearer"), [("int8", 1.1), ("int4", 1.5)])
def test_rounded_weights_mean_what_pytorch_makes_of_them(
    draw_language_model: Draw, form: str, precision: str, nearer: float, tmp_path: Path
) -> None:
    """PyTorch with the weights read back from the graphs is nearer to them than with those they were made of."""
    network = draw(draw_language_model, form)
    ours = exported(network, precision, tmp_path).state()
    again = Transformer(network.spec).eval()
    again.load_state_dict(read_back(network, tmp_path, precision))
    ids, targets = np.random.default_rng(1).integers(4, V, (2, 2, 60))
    found = ours.score(ids, targets)
    distances = [np.abs(found - TorchNetwork(each).state().score(ids, targets)).mean() for each in (again, network)]
    assert distances[0] * nearer < distances[1]  # rows are rounded too, to eight bits


def read_back(network: Transformer, directory: Path, precision: str) -> checkpoint.Weights:
    stored = Stored(read_arrays(directory, ["stream.onnx"]), network.spec, precision, scaled=True)
    return find_weights(stored, directory)


@pytest.mark.parametrize("precision", ["float32", "int8", "int4", "float16"])
def test_an_export_says_how_good_it_is(heed: Heed, trained_text: Path, tmp_path: Path, precision: str) -> None:
    path = tmp_path / "model"
    result = heed("export", trained_text, "-o", path, "--precision", precision, "--name", "digits")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    manifest = Bundle(path).require("generate")
    assert (manifest.task, manifest.precision, manifest.name) == ("generate", precision, "digits")
    run = TextRun.open(trained_text)
    assert manifest.network == run.spec
    parity, best = manifest.parity, run.best()[1]
    assert best.loss is not None
    assert parity
    assert parity.loss_torch == pytest.approx(best.loss, abs=0.05)  # which cut the documents at other places
    assert abs(parity.loss_bundle - parity.loss_torch) < (1e-5 if precision == "float32" else 0.02)
    if precision == "float32":
        assert parity.greedy_identical == parity.texts > 0
    text = "".join(document.text for document in run.validation)
    assert parity.tokens is not None
    assert parity.bits_per_byte == pytest.approx(parity.loss_bundle * parity.tokens / math.log(2) / len(text.encode()))
    card = (path / "README.md").read_text("utf-8")
    assert f"| perplexity per token, this bundle | {math.exp(parity.loss_bundle):.4f} |" in card
    for words in (["models", "verify"], ["models", "info"]):
        assert heed(*words, path).exit_code == 0
    report = json.loads(heed("doctor", "-m", path, "--json").stdout)
    assert report["devices"]["cpu"]["nodes"]["stream"]["CPUExecutionProvider"] > 0


def test_of_pairs_the_loss_is_that_of_the_completions(heed: Heed, trained_text: Path, tmp_path: Path) -> None:
    """As in training: the prompts are given."""
    pairs = [{"prompt": f"{i} {i + 1} ", "completion": f"{i + 2} {i}"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    training = ["--steps", 1, "--average", 1, "--batch-tokens", 480, "--precision", "float32", "--device", "cpu"]
    training += ["--threads", 1]
    files = ["--init-from", trained_text, "--pairs", tmp_path / "pairs.jsonl", "-o", tmp_path / "run"]
    assert heed("train", *files, *training).exit_code == 0
    assert heed("export", tmp_path / "run", "-o", tmp_path / "bundle").exit_code == 0
    _, progress = TextRun.open(tmp_path / "run").best()
    parity = Bundle(tmp_path / "bundle").manifest.parity
    assert parity
    assert parity.loss_bundle == pytest.approx(progress.loss, rel=1e-5)


def test_the_text_that_a_bundle_makes_is_the_network_s(heed: Heed, trained_text: Path, text_bundle: Path) -> None:
    run = TextRun.open(trained_text)
    network, tokenizer = run.load_network(run.best()[0]), run.tokenizer
    prompt = [tokenizer.bos_id, *tokenizer.encode("1 2 3")]
    special = SpecialIds(bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, suppressed=tokenizer.suppressed)
    config = DecodeConfig(beam_size=1, max_length=20)
    ((greedy,),) = search(TorchNetwork(network).state(), None, config, special, prompts=[prompt])
    result = heed("generate", "-m", text_bundle, "1 2 3", "--greedy", "--max-tokens", 20, "--no-echo")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.removesuffix("\n") == tokenizer.decode(greedy.tokens).removesuffix("\n")


def test_a_prompt_may_have_more_texts_than_the_context_has_places(heed: Heed, text_bundle: Path) -> None:
    """ONNX Runtime turns no more tokens of a row than there are angles."""
    decoder = Bundle(text_bundle).manifest.network.decoder
    assert decoder is not None
    assert decoder.n_positions is not None
    n = decoder.n_positions + 1
    one, many = (
        heed("generate", "-m", text_bundle, "1 2", "--seed", 1, "--max-tokens", 3, "--no-echo", *more)
        for more in ([], ["-n", n])
    )
    assert many.exit_code == 0, many.stderr
    texts = many.stdout.split("---\n")
    assert len(texts) == n
    assert texts[0] == one.stdout


def test_training_goes_on_from_a_bundle(heed: Heed, trained_text: Path, text_bundle: Path, tmp_path: Path) -> None:
    initial, run = from_bundle(text_bundle), TextRun.open(trained_text)
    assert network_spec(initial.network, "the bundle") == run.spec
    for name, value in checkpoint.read_weights(run.best()[0]).items():
        torch.testing.assert_close(initial.weights[name], value)
    text = trained_text.parent / "digits.txt"
    options = ["--steps", 1, "--valid-every", 1, "--learning-rate", 1e-9, "--batch-tokens", 480, "--device", "cpu"]
    result = heed("train", "--text", text, "--init-from", text_bundle, *options, "-o", tmp_path / "more")
    assert result.exit_code == 0, result.stderr
    _, first = run.best()
    _, second = TextRun.open(tmp_path / "more").best()
    assert second.loss == pytest.approx(first.loss, rel=0.01)  # in bfloat16, perhaps


def test_every_graph_that_is_opened_is_named(heed: Heed, trained_text: Path, tmp_path: Path) -> None:
    """The one that rounds keys and values was opened by its name, whether the manifest had it or not."""
    path = tmp_path / "model"
    assert heed("export", trained_text, "-o", path, "--precision", "int8").exit_code == 0
    assert {"stream.onnx", "decoder.onnx", "rounding.onnx"} <= set(Bundle(path).manifest.files)
    manifest = json.loads((path / "heed.json").read_text("utf-8"))
    del manifest["files"]["rounding.onnx"]
    (path / "heed.json").write_text(json.dumps(manifest), "utf-8")
    for lost in (False, True):
        if lost:
            (path / "rounding.onnx").unlink()
        with pytest.raises(ModelError, match=r"rounding\.onnx is not in the manifest"):
            Bundle(path)
    with pytest.raises(ModelError, match="do not match its manifest"):
        OnnxNetwork(path, manifests.read(path).network, manifest["files"], device="cpu", threads=1)


def test_a_chat_template_goes_into_the_bundle(heed: Heed, trained_text: Path, tmp_path: Path) -> None:
    (tmp_path / "chat.toml").write_text('before_user = "Q: "\nbefore_assistant = "A:"\nstop = ["\\nQ:"]\n')
    result = heed("export", trained_text, "-o", tmp_path / "chat", "--chat-template", tmp_path / "chat.toml")
    assert result.exit_code == 0, result.stderr
    expected = ChatTemplate(before_user="Q: ", before_assistant="A:", stop=("\nQ:",))
    assert Bundle(tmp_path / "chat").manifest.chat_template == expected


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [("stop = [", 3, "not TOML"), ("stop = 3", 4, "stop must be a list"), ("name = 'x'", 4, "unknown key 'name'")],
)
def test_a_chat_template_that_cannot_be(
    heed: Heed, trained_text: Path, tmp_path: Path, content: str, status: int, words: str
) -> None:
    (tmp_path / "chat.toml").write_text(content)
    result = heed("export", trained_text, "-o", tmp_path / "chat", "--chat-template", tmp_path / "chat.toml")
    assert result.exit_code == status
    assert result.stderr.startswith(f"Error: {tmp_path / 'chat.toml'}: ")
    assert words in result.stderr
    assert not (tmp_path / "chat").exists()


def test_options_of_the_other_kind_are_refused(heed: Heed, trained: Path, trained_text: Path, tmp_path: Path) -> None:
    text = trained_text.parent / "digits.txt"
    for run, options in (
        (trained, ["--chat-template", text]),
        (trained_text, ["--test-src", text, "--test-tgt", text]),
    ):
        result = heed("export", run, "-o", tmp_path / "model", *options)
        assert result.exit_code == 2
        assert not (tmp_path / "model").exists()


def test_each_kind_has_its_command(heed: Heed, bundle: Path, text_bundle: Path) -> None:
    for words, model, other in (
        (["translate"], text_bundle, "heed generate"),
        (["generate", "1"], bundle, "heed translate"),
        (["score"], bundle, "heed translate"),
    ):
        result = heed(*words, "-m", model, stdin=b"1 2\n")
        assert result.exit_code == 4
        assert result.stderr.startswith(f"Error: {model}: ")
        assert other in result.stderr


def test_heads_of_any_width_are_exported(heed: Heed, trained_text: Path, tmp_path: Path) -> None:
    """Where the operator of a stream refuses them, the other graph does all."""
    text = trained_text.parent / "digits.txt"
    network = ["--n-layers", 1, "--d-model", 24, "--n-heads", 2, "--d-ff", 16, "--context", 32, "--vocab-size", 272]
    training = ["--steps", 2, "--batch-tokens", 64, "--precision", "float32", "--device", "cpu", "--threads", 1]
    result = heed("train", "--text", text, *network, *training, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    result = heed("export", tmp_path / "run", "-o", tmp_path / "model")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "model" / "stream.onnx").exists()
    texts = heed("generate", "-m", tmp_path / "model", "1 2", "--seed", 1, "--max-tokens", 9, "-n", 2)
    assert texts.exit_code == 0, texts.stderr
