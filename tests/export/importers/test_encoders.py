"""Encoders from checkpoints to bundles by the command, and what they compute against transformers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from click.testing import Result
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from heed.export.importers.texts import ORDINARY, TEXTS
from heed.models.arrays import FloatArray
from heed.models.bundle.bundle import Bundle
from heed.models.tasks.embedder import Embedder
from heed.models.tasks.filler import Filler
from tests.export.importers import tiny

Heed = Callable[..., Result]
LINES = [" ".join(text.split()) for text in TEXTS]
BERT_SPECIAL, ROBERTA_SPECIAL = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
)


def word_pieces() -> tokenizers.Tokenizer:
    """BERT's tokenizer, trained on the texts of the proof; its file asks for padding and cuts, as MiniLM's does."""
    found = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.WordPiece()
    found.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=500, special_tokens=BERT_SPECIAL))
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    found.enable_padding(length=12)
    found.enable_truncation(12)
    return found


def save_modules(path: Path, pooling: dict[str, bool], *, max_seq_length: int = 24) -> None:
    """What sentence-transformers puts beside a checkpoint."""
    names = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "path": name, "type": f"sentence_transformers.models.{kind}"}
        for number, (name, kind) in enumerate(names.items())
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24, **pooling}))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_seq_length}))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, pieces: Callable[..., bytes]) -> Path:
    """A directory of checkpoints by their families. Do not write to it."""
    root = tmp_path_factory.mktemp("encoders")
    bert = word_pieces()
    sizes = {"max_position_embeddings": 256}
    tiny.save("bert", root / "bert", vocab_size=bert.get_vocab_size() + 2, **sizes | {"pad_token_id": 0})
    bert.save(str(root / "bert" / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (root / "bert" / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copytree(root / "bert", root / "distilbert")
    tiny.save("distilbert", root / "distilbert", vocab_size=bert.get_vocab_size(), **sizes | {"pad_token_id": 0})

    byte_level = tokenizers.Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=500, special_tokens=ROBERTA_SPECIAL, initial_alphabet=alphabet)
    )
    byte_level.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    byte_level.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    sizes = {"max_position_embeddings": 258}
    tiny.save("roberta", root / "roberta", vocab_size=byte_level.get_vocab_size(), **sizes)
    byte_level.save(str(root / "roberta" / "tokenizer.json"))
    (root / "roberta" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))

    model = pieces(400, pad_id=-1, unk_id=0, bos_id=1, eos_id=2)
    tiny.save("xlm-roberta", root / "xlm-roberta", vocab_size=402, **sizes)
    (root / "xlm-roberta" / "sentencepiece.bpe.model").write_bytes(model)
    return root


FAMILIES = ["bert", "roberta", "xlm-roberta", "distilbert"]


@pytest.fixture(scope="session")
def bundles(checkpoints: Path, heed: Heed) -> Callable[[str], Path]:
    """Imports a checkpoint, once."""

    def bundle(family: str) -> Path:
        path = checkpoints.parent / f"{checkpoints.name}-bundle-{family}"
        if not path.exists():
            result = heed("import", checkpoints / family, "-o", path)
            assert result.exit_code == 0, result.stderr
        return path

    return bundle


@torch.inference_mode()
def original_log_probs(path: Path, rows: list[list[int]]) -> list[FloatArray]:
    """What transformers predicts at every token."""
    model: Any = transformers.AutoModelForMaskedLM.from_pretrained(path).eval()
    return [model(torch.tensor([row])).logits[0].log_softmax(-1).numpy() for row in rows]


@torch.inference_mode()
def original_states(path: Path, rows: list[list[int]]) -> list[FloatArray]:
    """The states of transformers at every token."""
    model: Any = transformers.AutoModel.from_pretrained(path).eval()
    return [model(torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_manifest_says_how_it_compares_with_the_original(family: str, bundles: Callable[[str], Path]) -> None:
    bundle = Bundle(bundles(family))
    compared, vectors = bundle.manifest.compared, bundle.manifest.vectors
    assert bundle.manifest.task == "fill"
    assert compared is not None
    assert compared.log_prob_difference is not None
    assert compared.cosine_difference is not None
    assert compared.log_prob_difference < 1e-4
    assert compared.cosine_difference < 1e-5
    assert vectors is not None
    assert vectors.nearest_identical == vectors.texts == len(TEXTS)
    assert "smallest cosine of both vectors" in (bundle.path / "README.md").read_text("utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_have_the_ids_of_the_original(family: str, checkpoints: Path, bundles: Callable[[str], Path]) -> None:
    """Masks in the text among them, and without the padding and the cuts that the file asks for."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints / family)
    reader = Bundle(bundles(family)).reader()
    masked = [line.replace("the ", f"{tokenizer.mask_token} ", 1) for line in LINES]
    for lines in (LINES, masked):
        expected = [tokenizer(line, padding=False, truncation=False).input_ids for line in lines]
        assert reader.encode(lines) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_filled_as_by_transformers(family: str, checkpoints: Path, bundles: Callable[[str], Path]) -> None:
    texts = ["The capital of [MASK] is Paris.", "[MASK] I will <mask> with you", "the end [MASK]"]
    filler, reader = Filler.load(bundles(family), threads=1), Bundle(bundles(family)).reader()
    rows = reader.encode([text.replace("[MASK]", reader.mask).replace("<mask>", reader.mask) for text in texts])
    expected = original_log_probs(checkpoints / family, rows)
    for row, log_probs, found in zip(rows, expected, filler.fill(texts, 4), strict=True):
        places = [place for place, token in enumerate(row) if token == reader.mask_id]
        assert len(places) == len(found)
        for place, candidates in zip(places, found, strict=True):
            best = np.argsort(-log_probs[place])[:4]
            assert [each.token for each in candidates] == best.tolist()
            assert [each.probability for each in candidates] == pytest.approx(np.exp(log_probs[place][best]), rel=1e-4)


POOLINGS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "pooling_mode_mean_tokens": lambda states: states.mean(axis=0),
    "pooling_mode_cls_token": lambda states: states[0],
    "pooling_mode_max_tokens": lambda states: states.max(axis=0),
    "pooling_mode_lasttoken": lambda states: states[-1],
}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_those_of_sentence_transformers(
    pooling: str, checkpoints: Path, heed: Heed, tmp_path: Path
) -> None:
    """Pooled as the model's files say, of length 1, of texts that are cut where these say."""
    path = tmp_path / "model"
    shutil.copytree(checkpoints / "bert", path)
    save_modules(path, {name: name == pooling for name in POOLINGS})
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert result.exit_code == 0, result.stderr
    embedder = Embedder.load(tmp_path / "bundle", threads=1)
    found = embedder.embed(LINES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    rows = tokenizer(LINES, padding=False, truncation=True, max_length=24).input_ids
    expected = np.array([POOLINGS[pooling](states) for states in original_states(path, rows)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert embedder.n_cut == sum(len(row) > 24 for row in tokenizer(LINES, padding=False, truncation=False).input_ids)


def test_another_way_to_make_vectors_is_refused(checkpoints: Path, heed: Heed, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(checkpoints / "bert", path)
    save_modules(path, {"pooling_mode_weightedmean_tokens": True})
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert (result.exit_code, result.stderr.count("Error:")) == (4, 1)
    assert "heed pools by mean, cls, max, lasttoken" in result.stderr
    modules = json.loads((path / "modules.json").read_text())
    (path / "modules.json").write_text(json.dumps([*modules[:1], {"path": "2_Dense", "type": "x.Dense"}]))
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert result.exit_code == 4
    assert "heed knows no Dense" in result.stderr


def test_a_use_has_its_text_before_every_line(checkpoints: Path, heed: Heed, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(checkpoints / "bert", path)
    save_modules(path, {"pooling_mode_mean_tokens": True})
    prompts = {"prompts": {"query": "water: ", "passage": "paris: "}, "default_prompt_name": "passage"}
    (path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert heed("import", path, "-o", tmp_path / "bundle").exit_code == 0
    plain = Embedder.load(tmp_path / "bundle", threads=1, prefix="")
    for prefix, text in ((None, "paris: "), ("query", "water: "), ("moon: ", "moon: ")):
        found = Embedder.load(tmp_path / "bundle", threads=1, prefix=prefix).embed(["the train"])
        np.testing.assert_allclose(found, plain.embed([f"{text}the train"]), atol=1e-6)


def test_bert_s_older_list_of_pieces_is_a_tokenizer(checkpoints: Path, heed: Heed, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(checkpoints / "bert", path)
    tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    (path / "tokenizer.json").unlink()
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (path / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in pieces), "utf-8")
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert result.exit_code == 0, result.stderr
    tokenizer.no_padding()
    tokenizer.no_truncation()
    assert Bundle(tmp_path / "bundle").reader().encode(LINES) == [tokenizer.encode(line).ids for line in LINES]


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_other_precisions_have_a_price_that_is_told(
    precision: str, checkpoints: Path, heed: Heed, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    result = heed("import", checkpoints / "bert", "-o", path, "--precision", precision)
    if result.exit_code:  # random weights lose more than real ones do
        assert "the export is refused" in result.stderr
        return
    vectors = Bundle(path).manifest.vectors
    assert vectors is not None
    assert 0.95 <= vectors.least_cosine < 1


# Commands


def test_embed_writes_a_vector_a_line(bundles: Callable[[str], Path], heed: Heed, tmp_path: Path) -> None:
    """As JSON lines and as an array the same, whatever the lines are, and in batches of any size."""
    path, lines = bundles("bert"), [*LINES[:5], "", "a\ttab"]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    result = heed("embed", "-m", path, "--threads", "1", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["text"] for record in records] == lines
    expected = Embedder.load(path, threads=1).embed(lines)
    np.testing.assert_array_equal(np.array([record["embedding"] for record in records], dtype=np.float32), expected)
    for name in ("lines.npy", "lines.jsonl"):
        written = heed("embed", "-m", path, "-o", tmp_path / name, "--batch-size", 2, stdin=stdin)
        assert (written.exit_code, written.stdout) == (0, "")
    found = np.load(tmp_path / "lines.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == len(lines)
    again = heed("embed", "-m", path, "-o", tmp_path / "lines.npy", stdin=b"x\n")
    assert again.exit_code == 1
    assert "--force" in again.stderr
    assert len(np.load(tmp_path / "lines.npy")) == len(lines)


def test_embeddings_of_many_files_are_those_of_stdout(
    bundles: Callable[[str], Path], heed: Heed, tmp_path: Path
) -> None:
    path, lines = bundles("bert"), "".join(f"{line}\n" for line in LINES[:5]).encode()
    files = fsspec.filesystem("memory")
    for name in ("1.txt", "2.txt"):
        files.pipe_file(f"/embed-in/{name}", lines)
    command = ["embed", "-m", path, "--threads", "1"]
    result = heed(*command, "-i", "memory://embed-in/*.txt", "-o", "memory://embed-out/")
    assert result.exit_code == 0, result.stderr
    plain = heed(*command, stdin=lines).stdout_bytes
    assert [files.cat_file(f"/embed-out/{name}") for name in ("1.txt", "2.txt")] == [plain, plain]
    refused = heed(*command, "--ray", "local", "-o", tmp_path / "lines.npy", stdin=lines)
    assert (refused.exit_code, "a file of JSON lines" in refused.stderr) == (2, True)


def test_nothing_is_an_array_without_rows(bundles: Callable[[str], Path], heed: Heed, tmp_path: Path) -> None:
    assert heed("embed", "-m", bundles("bert"), "-o", tmp_path / "none.npy").exit_code == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 24)


def test_similar_lines_come_first(bundles: Callable[[str], Path], heed: Heed) -> None:
    path = bundles("bert")
    stdin = "".join(f"{line}\n" for line in ORDINARY).encode()
    result = heed("embed", "-m", path, "--similar-to", ORDINARY[7], "--top", 4, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[0] == ["1.0000", ORDINARY[7]]
    vectors = Embedder.load(path, threads=1).embed(ORDINARY)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    best = np.argsort(-(vectors @ vectors[7]), kind="stable")[:4]
    assert [text for _, text in rows] == [ORDINARY[i] for i in best]


def test_fill_writes_candidates(bundles: Callable[[str], Path], heed: Heed) -> None:
    path = bundles("bert")
    text = "The capital of [MASK] is <mask>."
    result = heed("fill", "-m", path, "-n", 3, text)
    assert result.exit_code == 0, result.stderr
    blocks = [block.splitlines() for block in result.stdout.split("\n\n")]
    assert [len(block) for block in blocks] == [3, 3]
    (record,) = map(
        json.loads, heed("fill", "-m", path, "-n", 3, "--json", stdin=f"{text}\n".encode()).stdout.splitlines()
    )
    for block, mask in zip(blocks, record["masks"], strict=True):
        assert [line.split("\t")[0] for line in block] == [f"{each['probability']:.4f}" for each in mask]
        assert [line.split("\t")[2] for line in block] == [each["text"] for each in mask]
    assert record["masks"][0][0]["text"].endswith("is [MASK].")


def test_a_line_without_a_mask_is_named(bundles: Callable[[str], Path], heed: Heed) -> None:
    result = heed("fill", "-m", bundles("bert"), stdin=b"a [MASK]\nnone\n")
    assert result.exit_code == 3
    assert "line 2: no mask to fill; write [MASK] in its place" in result.stderr
    long = heed("fill", "-m", bundles("bert"), "[MASK] " + "water " * 300)
    assert long.exit_code == 3
    assert "the model reads 256 at most" in long.stderr


def test_models_of_other_tasks_are_refused(bundles: Callable[[str], Path], bundle: Path, heed: Heed) -> None:
    for command, path, text in (
        ("embed", bundle, "translate"),
        ("fill", bundle, "translate"),
        ("translate", bundles("bert"), "fill"),
    ):
        result = heed(command, "-m", path, stdin=b"a\n")
        assert result.exit_code == 4
        assert f"this model is for heed {text}, not for heed {command}" in result.stderr
    assert "name one with -m" in heed("embed", stdin=b"a\n").stderr


def test_an_encoder_is_tried_out_and_described(bundles: Callable[[str], Path], heed: Heed) -> None:
    path = bundles("roberta")
    report = json.loads(heed("doctor", "-m", path, "--json").stdout)
    assert set(report["devices"]["cpu"]["nodes"]) == {"encoder", "predictor"}
    assert "fills masks in a text" in heed("models", "info", path).stdout
    assert heed("models", "verify", path).exit_code == 0
