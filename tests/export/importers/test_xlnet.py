"""XLNet from a checkpoint to vectors: its pieces, its segments and its last state, against transformers."""

import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from click.testing import Result
from torch.testing import assert_close

from heed.export.importers.texts import ORDINARY, TEXTS, VARIANTS
from heed.models.bundle.bundle import Bundle
from heed.models.tasks.embedder import Embedder
from heed.transformer.masks import padding_mask
from tests.export.importers import tiny
from tests.export.importers.test_encoders import save_modules
from tests.export.importers.test_families import PAD, ids, last_apart, network, padded

Heed = Callable[..., Result]
LINES = [" ".join(text.split()) for text in TEXTS]
SPECIAL = ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]  # from 3 on, as in XLNet's own vocabulary
COMMAS = "On 5, 7, 7, 19, and 7, of 1,234 and 57, 8,7, or x7,y."


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLNet with a vocabulary that has pieces of a digit and a comma. Do not write to it."""
    path, model = tmp_path_factory.mktemp("xlnet"), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES + [COMMAS] * 40),
        model_writer=model,
        vocab_size=420,
        control_symbols=SPECIAL,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tiny.save("xlnet", path, vocab_size=422, pad_token_id=5)
    (path / "spiece.model").write_bytes(model.getvalue())
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLNetTokenizer"}))
    return path


@pytest.fixture(scope="session")
def xlnet(checkpoint: Path, heed: Heed) -> Path:
    """The bundle of it. Do not write to it."""
    result = heed("import", checkpoint, "-o", checkpoint.parent / f"{checkpoint.name}-bundle")
    assert result.exit_code == 0, result.stderr
    return checkpoint.parent / f"{checkpoint.name}-bundle"


def reader(path: Path, heed: Heed, output: Path) -> Any:
    """What reads texts for a checkpoint, imported as a bundle."""
    result = heed("import", path, "-o", output)
    assert result.exit_code == 0, result.stderr
    return Bundle(output).reader()


def test_the_manifest_says_how_it_compares_with_the_original(xlnet: Path) -> None:
    manifest = Bundle(xlnet).manifest
    assert manifest.task == "embed"
    assert manifest.compared is not None
    assert manifest.compared.texts == len(TEXTS)
    assert manifest.compared.ids_identical == manifest.compared.ids_texts == len(VARIANTS)
    assert manifest.compared.cosine_difference is not None
    assert manifest.compared.cosine_difference < 1e-5
    assert manifest.embedding is not None
    assert manifest.embedding.pooling == "last"


@torch.inference_mode()
def test_a_vector_is_the_state_of_cls_whatever_stands_beside_its_text(
    checkpoint: Path, xlnet: Path, heed: Heed
) -> None:
    """As transformers computes it with the padding and the segments of its tokenizer: both on the left."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model: Any = transformers.XLNetModel.from_pretrained(checkpoint)
    read = tokenizer(LINES, padding=True, return_tensors="pt", return_token_type_ids=True)
    assert read.input_ids[:, -1].unique().tolist() == [tokenizer.cls_token_id]
    assert read.token_type_ids[:, -1].unique().tolist() == [2]
    expected = model.eval()(**read).last_hidden_state[:, -1].numpy()
    assert expected.std() > 0.3
    embedder = Embedder.load(xlnet, threads=1)
    np.testing.assert_allclose(embedder.embed(LINES), expected, rtol=0, atol=1e-4)
    alone = np.concatenate([embedder.embed([line]) for line in LINES])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-4)
    result = heed("embed", "-m", xlnet, "--threads", "1", stdin="".join(f"{line}\n" for line in LINES).encode())
    assert result.exit_code == 0, result.stderr
    written = [json.loads(line)["embedding"] for line in result.stdout.splitlines()]
    np.testing.assert_allclose(np.array(written), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [{}, {"do_lower_case": True}], ids=str)
def test_texts_have_the_ids_of_transformers(
    config: dict[str, bool], checkpoint: Path, heed: Heed, tmp_path: Path
) -> None:
    """Of a SentencePiece model, and of the tokenizer.json that transformers makes of it."""
    path = tmp_path / "model"
    shutil.copytree(checkpoint, path)
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLNetTokenizer"} | config))
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    expected = [tokenizer(line).input_ids for line in LINES]
    assert reader(path, heed, tmp_path / "pieces").encode(LINES) == expected
    (path / "spiece.model").unlink()
    tokenizer.save_pretrained(path)
    lines = [*LINES, COMMAS]
    assert reader(path, heed, tmp_path / "library").encode(lines) == [tokenizer(line).input_ids for line in lines]


def original_ids(text: str, model: sentencepiece.SentencePieceProcessor, *, accents: bool) -> list[int]:
    """The ids of a text as XLNet's authors made them (prepro_utils.py), whose rule about commas transformers 5 lost."""
    text = " ".join(text.split()).replace("``", '"').replace("''", '"')
    if not accents:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    found = list[str]()
    for piece in model.encode(text, out_type=str):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            parts = model.encode(piece[:-1].replace("▁", ""), out_type=str)
            if piece[0] != "▁" and parts[0][0] == "▁":
                parts = parts[1:] if parts[0] == "▁" else [parts[0][1:], *parts[1:]]
            found += [*parts, ","]
        else:
            found.append(piece)
    return [*map(model.piece_to_id, found), *map(model.piece_to_id, ("<sep>", "<cls>"))]


@pytest.mark.parametrize("accents", [False, True])
def test_commas_after_digits_and_accents_are_the_original_s(
    accents: bool, checkpoint: Path, heed: Heed, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(checkpoint, path)
    (path / "tokenizer_config.json").write_text(json.dumps({"keep_accents": accents}))
    model = sentencepiece.SentencePieceProcessor(model_file=str(path / "spiece.model"))
    assert any(piece.endswith("7,") for piece in model.encode(COMMAS, out_type=str))
    lines = [
        *ORDINARY[:32],
        COMMAS,
    ]  # European ones: the library drops vowels of others as accents, as transformers does
    expected = [original_ids(line, model, accents=accents) for line in lines]
    assert reader(path, heed, tmp_path / "bundle").encode(lines) == expected


def test_a_cut_text_keeps_both_tokens_at_its_end(checkpoint: Path, heed: Heed, tmp_path: Path) -> None:
    """And the files of sentence-transformers say how vectors are made."""
    path = tmp_path / "model"
    shutil.copytree(checkpoint, path)
    save_modules(path, {"pooling_mode_mean_tokens": True}, max_seq_length=12)
    assert heed("import", path, "-o", tmp_path / "bundle").exit_code == 0
    manifest, read = Bundle(tmp_path / "bundle").manifest, Bundle(tmp_path / "bundle").reader()
    assert manifest.embedding is not None
    assert (manifest.embedding.pooling, manifest.embedding.max_tokens) == ("mean", 12)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    expected = tokenizer(LINES, truncation=True, max_length=12).input_ids
    assert [read.cut(row, 12) for row in read.encode(LINES)] == expected


@torch.inference_mode()
def test_a_network_without_its_head_is_the_same(tmp_path: Path) -> None:
    model = tiny.draw("xlnet")
    model.transformer.save_pretrained(tmp_path)
    src = padded(ids(53))
    states = network(tmp_path).encode(src, padding_mask(src, PAD))
    expected = model.transformer(**last_apart(src)).last_hidden_state
    assert_close(states[src != PAD], expected[src != PAD], rtol=0, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x0a\xff\xff\xff\xff\x0f"], ids=str)
def test_a_damaged_vocabulary_is_told_in_a_line(content: bytes, checkpoint: Path, heed: Heed, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(checkpoint, path)
    (path / "spiece.model").write_bytes(content)
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert (result.exit_code, result.stderr.count("Error:")) == (4, 1)
    assert "its SentencePiece model is damaged" in result.stderr
    assert not (tmp_path / "bundle").exists()


def test_it_fills_no_masks(xlnet: Path, heed: Heed) -> None:
    result = heed("fill", "-m", xlnet, "a <mask>")
    assert result.exit_code == 4
    assert "this model is for heed embed, not for heed fill" in result.stderr
