"""The translator that comes with heed, written as Marian would have it, and imported again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.numpy import save_file

from heed.export.exporter import write_graphs
from heed.export.importers import texts
from heed.export.importers.bundle import from_bundle
from heed.export.importers.families import marian
from heed.export.importers.importer import import_model, load_network
from heed.export.model_details import ModelDetails
from heed.models.bundle.catalog import DEFAULT
from heed.models.decoding.config import DecodeConfig
from heed.models.runtime.network import OnnxNetwork
from heed.models.spec.network import NetworkSpec
from heed.models.spec.preset import network_spec
from heed.models.tasks.translation.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer

DATA = Path(__file__).parents[2] / "data"
INPUTS = ("query", "key", "value", "inner")  # projections of states


def write_checkpoint(path: Path, spec: NetworkSpec, weights: dict[str, torch.Tensor]) -> None:
    """Write a network of heed's in Marian's layout: sines before cosines, and biases everywhere."""
    assert spec.encoder is not None
    attention, d_model = spec.encoder.attention, spec.d_model
    order = np.concatenate([np.arange(0, d_model, 2), np.arange(1, d_model, 2)])  # sines stand at even numbers
    tensors: dict[str, Any] = {"final_logits_bias": np.zeros((1, spec.encoder.vocab_size), np.float32)}
    for name, tensor in weights.items():
        *_, part, kind = name.split(".")
        reads, array = part in INPUTS or "embedding" in part, tensor.numpy()
        if kind == "weight" and array.ndim > 1:
            array = array[:, order] if reads else array[order]
        elif not reads:
            array = array[order]
        found = marian.FAMILY.origin(name, spec).name
        tensors[found] = np.ascontiguousarray(array)
        if found.endswith("proj.weight"):
            tensors[found.replace("weight", "bias")] = np.zeros(len(array), np.float32)
    save_file(tensors, path / "model.safetensors")
    sizes: dict[str, object] = {"d_model": d_model, "vocab_size": spec.encoder.vocab_size, "scale_embedding": True}
    for name, stack in spec.stacks.items():
        sizes |= {f"{name}_layers": stack.n_layers, f"{name}_ffn_dim": stack.feed_forward.d_ff}
        sizes |= {f"{name}_attention_heads": attention.n_heads}
    ids = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 2, "suppress_tokens": [1, 2]}
    search = {"num_beams": 4, "max_length": 512, "bad_words_ids": [[0]]}
    config = {"model_type": "marian", "activation_function": "relu", **sizes, **ids, **search}
    (path / "config.json").write_text(json.dumps(config), "utf-8")


def write_tokenizer(path: Path, model: bytes) -> None:
    """Write a SentencePiece model as Marian has it."""
    for side in ("source", "target"):
        (path / f"{side}.spm").write_bytes(model)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    (path / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")


@pytest.mark.parametrize("n_lines", [12, pytest.param(1000, marks=pytest.mark.slow)])
def test_it_translates_as_before(n_lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if n_lines < 100:
        monkeypatch.setattr(texts, "OPERATIONS", 10**10)  # few texts in the proof, which has tests of its own
    initial = from_bundle(DEFAULT)
    spec, tokenizer = network_spec(initial.network, "the model"), Tokenizer.load(Path(initial.tokenizer[0]))
    checkpoint, own = tmp_path / "marian", tmp_path / "own"
    checkpoint.mkdir()
    own.mkdir()
    write_checkpoint(checkpoint, spec, dict(initial.weights))
    write_tokenizer(checkpoint, tokenizer.model)
    import_model(checkpoint, tmp_path / "bundle", precision="float32", details=ModelDetails(name="marian"))
    weights = {name: tensor.numpy() for name, tensor in initial.weights.items()}
    files = write_graphs(load_network(spec, weights), "float32", own)
    network = OnnxNetwork(own, spec, files, device="cpu", threads=1)
    lines = (DATA / "tatoeba.test.en").read_text("utf-8").split("\n")[:n_lines]
    config = DecodeConfig()
    expected = [found.text for found in Translator(network, tokenizer, tokenizer).translate(lines, config)]
    imported = Translator.load(tmp_path / "bundle", threads=1, repair=False)
    assert [found.text for found in imported.translate(lines, config)] == expected
