"""Students of Bergamot, from Marian's binary files to bundles, against a second reading of Marian's formulas."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from numpy.testing import assert_allclose

from heed.export.importers.bundle import from_bundle
from heed.export.importers.checkpoints import read_model
from heed.export.importers.families.bergamot import HARMLESS, ONLY
from heed.export.importers.importer import load_network
from heed.export.importers.texts import ORDINARY
from heed.export.onnx.rowwise import quantize_rows
from heed.models.bundle.bundle import Bundle
from heed.models.decoding.batching import padded
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import SpecialIds
from heed.models.errors import ModelError
from heed.transformer.decoding import TorchNetwork
from tests.export.importers import student
from tests.export.importers.student import ATTENTIVE, OWN_TABLES, Reference, Student

EOS, UNK = 0, 1
N_PIECES = (420, 400)
FORMS: dict[str, dict[str, object]] = {"ssru": {}, "ssru, two vocabularies": OWN_TABLES, "attention": ATTENTIVE}
CLOSE = 1e-4  # of log-probabilities in float32
LIMIT = 9  # tokens of an output
LINES = ORDINARY[:5]
N_COMMON = 7


def made(path: Path, pieces: Callable[..., bytes], form: str, **changes: object) -> Student:
    """A student's directory, with a shortlist."""
    config = FORMS[form] | changes
    models = [pieces(size) for size in N_PIECES[: 1 + (config.get("tied-embeddings-all") == "false")]]
    sizes = N_PIECES[0], N_PIECES[len(models) - 1]
    found = student.draw(sizes, config)
    student.save(found, path, models)
    random = np.random.default_rng(2)
    lists = [sorted(random.choice(sizes[1], random.integers(0, 6), replace=False).tolist()) for _ in range(sizes[0])]
    (path / "lex.50.50.s2t.bin").write_bytes(student.shortlist(lists, N_COMMON))
    return found


def rewrite(path: Path, found: Student, **changes: student.Item) -> None:
    (path / "model.intgemm.alphas.bin").write_bytes(student.written(student.items(found) | changes))


@pytest.fixture(scope="module", params=FORMS)
def imported(
    request: pytest.FixtureRequest,
    pieces: Callable[..., bytes],
    heed: Callable[..., Result],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Reference]:
    """A bundle that the command made, and the reference of its student."""
    path = tmp_path_factory.mktemp("student")
    reference = Reference(made(path / "student", pieces, request.param))
    result = heed("import", path / "student", "-o", path / "bundle", "--from", "en", "--to", "pt")
    assert result.exit_code == 0, result.stderr
    return path / "bundle", reference


def test_log_probabilities_are_those_of_marians_formulas(imported: tuple[Path, Reference]) -> None:
    """In PyTorch's stead the graphs, which read tokens one by one; alone and in a batch with padding."""
    path, reference = imported
    random, state = np.random.default_rng(4), Bundle(path).network(device="cpu", threads=1).state()
    sources = [[*random.integers(2, 400, n).tolist(), EOS] for n in (3, 9, 1)]
    outputs = random.integers(2, 400, (3, 11))
    start = len(reference.student["decoder_ff_logit_out_b"][0])
    read = np.concatenate([np.full((3, 1), start), outputs], axis=1)
    state.encode(*padded(sources))
    found = state.forced(read)
    for row, source in enumerate(sources):
        expected = reference.forced(source, outputs[row])
        assert_allclose(found[row, :, :start], expected, rtol=0, atol=CLOSE)
        assert (found[row, :, start] < -100).all()  # nothing begins anew
        state.encode(*padded([source]))
        assert_allclose(state.forced(read[row : row + 1])[0, :, :start], expected, rtol=0, atol=CLOSE)
        state.encode(*padded(sources))


@pytest.mark.parametrize("beam_size", [1, 3])
def test_outputs_are_those_of_the_search(imported: tuple[Path, Reference], beam_size: int) -> None:
    """Over the whole vocabulary, where each step reads the state that the step before has left."""
    path, reference = imported
    bundle = Bundle(path)
    assert (bundle.manifest.decode.beam_size, bundle.manifest.decode.length_penalty) == (1, 1.0)
    config = dataclasses.replace(bundle.manifest.decode, beam_size=beam_size, max_length=LIMIT)
    src, tgt = bundle.tokenizers()
    sources = [[*ids, EOS] for ids in src.encode(LINES)]
    state = bundle.network(device="cpu", threads=1).state()
    for source, (best, *_) in zip(sources, search(state, sources, config, SpecialIds.of(tgt)), strict=True):
        assert best.tokens == reference.beam(source, beam_size, LIMIT, EOS, UNK)


def test_lines_are_translated(imported: tuple[Path, Reference], heed: Callable[..., Result]) -> None:
    """By the command, over the shortlist: a line each, and in a batch the same as alone."""
    path, _ = imported
    every, *alone = (
        heed("translate", "-m", path, "--threads", "1", stdin="".join(f"{line}\n" for line in lines).encode())
        for lines in (LINES, *([line] for line in LINES))
    )
    assert every.exit_code == 0, every.stderr
    assert every.stdout == "".join(each.stdout for each in alone)
    assert every.stdout.count("\n") == len(LINES)


def test_a_bundle_gives_back_its_weights(imported: tuple[Path, Reference]) -> None:
    """For further training: from a bundle come the numbers of the file."""
    path, _ = imported
    model, found = read_model(path.parent / "student"), from_bundle(path)
    assert model.weights.keys() == found.weights.keys()
    for name, numbers in found.weights.items():
        assert_allclose(numbers.numpy(), model.weights[name], rtol=1e-6, atol=0)


def test_a_student_is_trained_further(
    pieces: Callable[..., bytes], heed: Callable[..., Result], tmp_path: Path
) -> None:
    """From its directory to a run, and to a bundle that translates by the same rules."""
    made(tmp_path / "student", pieces, "ssru")
    for side in ("src", "tgt"):
        (tmp_path / side).write_text("\n".join(LINES * 4), "utf-8")
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    machine = ["--precision", "float32", "--device", "cpu", "--threads", "1", "--average", "1"]
    pairs = ["--src", tmp_path / "src", "--tgt", tmp_path / "tgt", "--steps", "2", "--batch-tokens", "256"]
    for command in (
        ["train", "--init-from", tmp_path / "student", *pairs, *machine, "-o", run],
        ["export", run, "-o", bundle, "--licence", "CC0", "--trained-on", "nothing"],
    ):
        result = heed(*command)
        assert result.exit_code == 0, result.stderr
    manifest = Bundle(bundle).manifest
    assert manifest.conventions == read_model(tmp_path / "student").vocabulary.conventions
    assert manifest.network.stacks["decoder"].recurrence == "ssru"


def test_a_shortlist_has_the_tokens_that_marian_chooses(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    """Those of the file's lists, the common ones, the end, and with one vocabulary the source's own.

    Marian also fills the list of a sentence with the next tokens until it is a multiple of 8 long.
    """
    for form in ("ssru", "ssru, two vocabularies"):
        path = tmp_path / form
        made(path, pieces, form)
        (path / "lex.50.50.s2t.bin").write_bytes(student.shortlist([[19, 30], [], [18], [21, 22, 399]], 5))
        model = read_model(path)
        assert model.shortlist is not None
        assert sorted(model.shortlist.always) == list(range(5 + 7))
        copied = form == "ssru"
        expected = [{19, 30}, set(), {18}, {21, 22, 399}]
        for token, own in enumerate(expected):
            chosen = {*model.shortlist.likely[token].tolist()} - {*range(5)}
            assert chosen == own | ({token} if copied else set()) - {*range(5)}


def test_the_files_scales_go_over_to_int8(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    """What a product reads has so many levels a unit; behind a ReLU twice as many fit a byte."""
    found = made(tmp_path, pieces, "attention")  # with ReLU
    calibration = read_model(tmp_path).calibration
    assert calibration is not None
    scales = calibration.inputs
    for name, theirs, levels in (
        ("decoder.layers.2.cross_attention.key", "decoder_l3_context_Wk", 127),
        ("encoder.layers.1.feed_forward.inner", "encoder_l2_ffn_W1", 127),
        ("encoder.layers.1.feed_forward.outer", "encoder_l2_ffn_W2", 255),
        ("src_embedding", "Wemb", 127),
    ):
        assert scales[name] == pytest.approx(127 / float(found[f"{theirs}_QuantMultA"].item()) / levels)
    parts = [float(found[f"encoder_l1_self_W{part}_QuantMultA"].item()) for part in "qkv"]
    assert scales["encoder.layers.0.self_attention.qkv"] == pytest.approx(1 / min(parts))


def test_int8_keeps_small_integers_of_the_file(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    found = made(tmp_path, pieces, "ssru")
    found.arrays["Wemb"][::2] //= 3
    rewrite(tmp_path, found)
    (integers, scales), numbers = quantize_rows(read_model(tmp_path).weights["src_embedding.weight"]), found["Wemb"]
    small = np.abs(found.arrays["Wemb"]).max(axis=1) <= 63
    assert 0.4 < small.mean() < 1
    assert_allclose((integers * scales[:, None])[:-1][small], numbers[small], rtol=1e-6, atol=0)


REFUSED: dict[str, object] = {
    "type": "s2s",
    "dim-emb": 15,
    "dec-depth": 4,
    "enc-depth": 1,
    "dim-vocabs": "\n  - 420\n  - 421",
    "dec-cell": "gru",
    "input-types": "\n  - sequence\n  - class",
    "layer-normalization": "true",
    "lemma-dim-emb": 3,
    "output-omit-bias": "true",
    "right-left": "true",
    "skip": "true",
    "special-vocab": "\n  - 3",
    "tied-embeddings-all": "false",
    "transformer-decoder-autoreg": "average-attention",
    "transformer-dim-ffn": 24,
    "transformer-ffn-activation": "gelu",
    "transformer-ffn-depth": 3,
    "transformer-heads": 3,
    "transformer-no-projection": "true",
    "transformer-pool": "true",
    "transformer-postprocess": "da",
    "transformer-postprocess-emb": "dn",
    "transformer-postprocess-top": "n",
    "transformer-preprocess": "n",
    "transformer-tied-layers": "\n  - 1\n  - 1\n  - 2",
    "transformer-train-position-embeddings": "true",
    "transformer-rnn-projection": "true",
    "ulr": "true",
}


def test_every_key_is_tried() -> None:
    """A key whose value changes nothing here is one of those that change no number."""
    tried = REFUSED.keys() | {"tied-embeddings", "tied-embeddings-src"}
    assert tried >= ONLY.keys()
    assert {*student.CONFIG} <= tried | HARMLESS


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_with_another_value_is_refused_in_words(key: str, pieces: Callable[..., bytes], tmp_path: Path) -> None:
    found = made(tmp_path, pieces, "ssru")
    found.config[key] = REFUSED[key]
    rewrite(tmp_path, found)
    with pytest.raises(ModelError) as refusal:
        dict(read_model(tmp_path).weights)
    told = str(refusal.value)
    assert told.startswith(str(tmp_path))
    assert "\n" not in told
    assert key in told or "tensor" in told or "shape" in told


@pytest.mark.parametrize(("key", "value"), [("transformer-heads", 2), ("transformer-ffn-activation", "relu")])
def test_a_key_that_heed_understands_changes_the_numbers(
    key: str, value: object, pieces: Callable[..., bytes], tmp_path: Path
) -> None:
    found, probabilities = made(tmp_path, pieces, "ssru"), []
    for each in (found.config[key], value):
        found.config[key] = each
        rewrite(tmp_path, found)
        model = read_model(tmp_path)
        state = TorchNetwork(load_network(model.spec, model.weights)).state()
        state.encode(*padded([[5, 6, 7, EOS]]))
        probabilities.append(state.forced(np.array([[420, 8, 9]])))
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.01


Damage = Callable[[Path, Student], object]


def patched(path: Path, place: int, *numbers: int) -> None:
    file = path / "model.intgemm.alphas.bin"
    data = bytearray(file.read_bytes())
    data[place : place + 8 * len(numbers)] = struct.pack(f"<{len(numbers)}Q", *numbers)
    file.write_bytes(data)


def cut(path: Path, size: int) -> None:
    file = path / "model.intgemm.alphas.bin"
    file.write_bytes(file.read_bytes()[:size])


def lexicon(path: Path, data: bytes) -> None:
    (path / "lex.50.50.s2t.bin").write_bytes(data)


def not_finite(path: Path, found: Student) -> None:
    found.arrays["encoder_l1_ffn_b1"][0, 3] = np.nan
    rewrite(path, found)


def without(path: Path, found: Student) -> None:
    del found.arrays["decoder_l2_rnn_Wf"]
    rewrite(path, found)


def configured(path: Path, found: Student, changes: dict[str, object]) -> None:
    found.config |= changes
    rewrite(path, found)


def no_multiplier(path: Path, found: Student) -> None:
    found.multipliers["encoder_l1_ffn_W1"] = 0.0
    rewrite(path, found)


def text(*lines: str) -> student.Item:
    data = "\n".join(lines).encode()
    return student.TEXT, (len(data),), data


FLOATS = student.FLOAT32
GOOD = student.shortlist([[3]] * 420, N_COMMON)
DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty": (lambda path, _: cut(path, 0), "cut off"),
    "a header cut off": (lambda path, _: cut(path, 100), "cut off"),
    "names cut off": (lambda path, _: cut(path, 8000), "cut off"),
    "numbers cut off": (lambda path, _: cut(path, 60_000), "cut off"),
    "something behind": (
        lambda path, found: (path / "model.intgemm.alphas.bin").write_bytes(
            student.written(student.items(found)) + b"x"
        ),
        "behind",
    ),
    "another version": (lambda path, _: patched(path, 0, 2), "version 2"),
    "another file": (lambda path, _: patched(path, 0, int.from_bytes(b"PK\x03\x04 zip", "little")), "version"),
    "many items": (lambda path, _: patched(path, 8, 2**60), "items"),
    "more items than there are": (lambda path, _: patched(path, 8, 60_000), "cut off"),
    "a long name": (lambda path, _: patched(path, 16, 2**62), "cut off"),
    "a deep shape": (lambda path, _: patched(path, 32, 2**40), "dimensions"),
    "a long item": (lambda path, _: patched(path, 40, 2**63), "cut off"),
    "a type of one processor": (lambda path, _: patched(path, 24, 0x14101), "0x14101"),
    "a shape too large": (
        lambda path, found: rewrite(path, found, Wemb=(student.INTGEMM8, (2**31 - 1, 2**31 - 1), b"x" * 99)),
        "Wemb of the shape",
    ),
    "another shape": (
        lambda path, found: rewrite(path, found, decoder_l1_rnn_bf=(FLOATS, (1, 15), bytes(60))),
        "decoder_l1_rnn_bf has the shape",
    ),
    "a tensor too many": (lambda path, found: rewrite(path, found, secret=(FLOATS, (1, 1), bytes(4))), "secret"),
    "a missing tensor": (
        without,
        "decoder_l2_rnn_Wf",
    ),
    "not a number": (not_finite, "NaN"),
    "a multiplier of 0": (no_multiplier, "NaN"),
    "no configuration": (
        lambda path, found: rewrite(path, found, **{"special:model.yml": text()}),
        "special:model.yml",
    ),
    "a configuration in other YAML": (
        lambda path, found: rewrite(path, found, **{"special:model.yml": text("a: &a", "  b: *a")}),
        "cannot read the line",
    ),
    "a key twice": (lambda path, found: rewrite(path, found, **{"special:model.yml": text("a: 1", "a: 2")}), "twice"),
    "a long configuration": (
        lambda path, found: rewrite(path, found, **{"special:model.yml": text("a: " + "b" * 70_000)}),
        "configuration of",
    ),
    "billions of layers": (
        lambda path, found: configured(path, found, {"dec-depth": 10**12}),
        "layers",
    ),
    "a huge vocabulary": (
        lambda path, found: configured(path, found, {"dim-vocabs": "\n  - 9999999999\n  - 9999999999"}),
        "dim-vocabs",
    ),
    "two models": (lambda path, _: (path / "b.bin").write_bytes(b"\1" + bytes(7)), "b.bin"),
    "two shortlists": (lambda path, _: (path / "b.bin").write_bytes(GOOD), "b.bin"),
    "two vocabularies": (lambda path, _: (path / "b.spm").write_bytes(b"x"), ".spm"),
    "a damaged vocabulary": (lambda path, _: (path / "vocab.spm").write_bytes(b"nothing"), "SentencePiece"),
    "a shortlist cut off": (lambda path, _: lexicon(path, GOOD[:20]), "lex.50.50"),
    "a shortlist of another size": (lambda path, _: lexicon(path, GOOD[:-4]), "size"),
    "a shortlist with a flaw": (lambda path, _: lexicon(path, GOOD[:-4] + b"\7\0\0\0"), "checksum"),
    "a shortlist of another vocabulary": (
        lambda path, _: lexicon(path, student.shortlist([[3, 420]] * 420, N_COMMON)),
        "another vocabulary",
    ),
    "a shortlist of more tokens": (
        lambda path, _: lexicon(path, student.shortlist([[3]] * 425, N_COMMON)),
        "another vocabulary",
    ),
    "a shortlist with too many common tokens": (
        lambda path, _: lexicon(path, student.shortlist([[3]] * 420, 2**40)),
        "another vocabulary",
    ),
    "a long list": (lambda path, _: lexicon(path, student.shortlist([[3] * 1500, [4]], N_COMMON)), "translations"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_is_refused_in_one_line(
    name: str, pieces: Callable[..., bytes], heed: Callable[..., Result], tmp_path: Path
) -> None:
    damage, word = DAMAGES[name]
    path = tmp_path / "student"
    damage(path, made(path, pieces, "ssru"))
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert result.exit_code == 4, result.stderr
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("Error")] == lines[-1:]
    assert word in lines[-1]
    assert list(tmp_path.iterdir()) == [path]
