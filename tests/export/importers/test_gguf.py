"""GGUF files against the checkpoints that they hold."""

from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from torch.testing import assert_close

from heed.export.importers.checkpoints import read_model
from heed.export.importers.formats.gguf_file import PARTS, WHOLE
from heed.export.importers.importer import load_network
from heed.export.importers.texts import TEXTS
from heed.export.onnx.blockwise import pack_blocks, unpack_blocks
from heed.models.errors import ModelError
from heed.models.tokenizers.library import LibraryTexts
from heed.models.tokenizers.plain import SentencePieceTexts
from tests.export.importers import tiny

SIZES = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}  # blocks have 32 numbers
CONTROL, NORMAL, BYTE, UNKNOWN = 3, 1, 6, 2


def pairs(array: np.ndarray[Any, Any], n_heads: int) -> np.ndarray[Any, Any]:
    """Rows of queries and keys as llama.cpp's converter puts them."""
    return array.reshape(n_heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def write(path: Path, form: str, kind: str = "F32", vocabulary: list[str] | None = None, **metadata: Any) -> Any:
    """Draw a model and write it as llama.cpp's converter would; returns the model."""
    vocabulary = vocabulary or [f"t{number}" for number in range(53)]
    plain = {"attention_bias": False} if form == "llama" else {}
    model = tiny.draw(form, vocab_size=len(vocabulary), **SIZES, **plain)
    config, arch = model.config, "qwen2" if form == "qwen2" else "llama"
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key, value in ({"model": "gpt2", "pre": "smollm"} | metadata).items():
        add: dict[type, Any] = {
            str: writer.add_string,
            bool: writer.add_bool,
            int: writer.add_uint32,
            list: writer.add_array,
        }
        add[type(value)](f"tokenizer.ggml.{key}", value)
    writer.add_token_list(vocabulary)
    if "token_type" not in metadata:
        writer.add_token_types([CONTROL] * 3 + [NORMAL] * (len(vocabulary) - 3))
    writer.add_eos_token_id(2)
    names = {theirs: ours for ours, theirs in WHOLE.items()}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        if name not in names:
            _, _, number, rest = name.split(".", 3)
            part, _, suffix = rest.rpartition(".")
            names[name] = f"blk.{number}.{next(key for key, value in PARTS.items() if value == part)}.{suffix}"
            if arch == "llama" and rest.startswith(("self_attn.q_proj", "self_attn.k_proj")):
                heads = config.num_attention_heads if "q_proj" in rest else config.num_key_value_heads
                array = pairs(array, heads)
        quantized = getattr(gguf.GGMLQuantizationType, kind if array.ndim > 1 else "F32")
        data = gguf.quantize(np.ascontiguousarray(array), quantized)
        writer.add_tensor(names[name], data, raw_dtype=quantized)
        values = torch.from_numpy(gguf.dequantize(data, quantized).copy())
        with torch.no_grad():
            expected = values
            if arch == "llama" and ("q_proj" in name or "k_proj" in name):
                heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
                expected = values.view(heads, -1, 2, *values.shape[1:]).transpose(1, 2).reshape(values.shape)
            tensor.copy_(expected)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


MERGES = ["t 1", "t 2"]


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q8_0"])
@pytest.mark.parametrize("form", ["llama", "qwen2"])
@torch.inference_mode()
def test_predicts_what_its_numbers_say(form: str, kind: str, tmp_path: Path) -> None:
    vocabulary = ["t", "1", "2", "t1", "t2", *(f"x{number}" for number in range(59))]
    model = write(tmp_path / "model.gguf", form, kind, vocabulary, merges=MERGES)
    found = read_model(tmp_path / "model.gguf")
    network = load_network(found.spec, found.weights)
    ids = torch.randint(64, (2, 30))
    assert_close(network(tgt=ids).log_softmax(-1), model(ids).logits.log_softmax(-1), rtol=0, atol=1e-4)


def test_byte_level_tokens_are_those_of_the_library(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    vocabulary = sorted(byte_level.get_vocab(), key=lambda piece: byte_level.token_to_id(piece) or 0)
    merges = [" ".join(pair) for pair in __import__("json").loads(byte_level.to_str())["model"]["merges"]]
    write(tmp_path / "model.gguf", "llama", "F32", vocabulary, merges=merges, pre="gpt-2", bos_token_id=0)
    found = read_model(tmp_path / "model.gguf")
    data = found.vocabulary.files["tokenizer.json"]
    tokenizer = LibraryTexts(data, found.vocabulary.conventions, len(vocabulary), "tokenizer.json")
    for text in TEXTS:
        assert tokenizer.encode(text) == byte_level.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode("a<|end|>") == [*tokenizer.encode("a"), 1]


def test_sentencepiece_tokens_are_those_of_its_model(tmp_path: Path) -> None:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 6]
    scores = [0.0] * 259 + [-10.0, -11.0, -12.0, -1.0, -2.0, -0.5]
    write(
        tmp_path / "model.gguf", "llama", "F32", pieces, model="llama", scores=scores, token_type=kinds, bos_token_id=1
    )
    found = read_model(tmp_path / "model.gguf")
    assert found.vocabulary.conventions.starts_texts
    data = found.vocabulary.files["tokenizer.model"]
    tokenizer = SentencePieceTexts(data, found.vocabulary.conventions, len(pieces), "tokenizer.model")
    assert [pieces[number] for number in tokenizer.encode("ab a")] == ["▁ab", "▁a"]
    assert tokenizer.decode(tokenizer.encode("é")) == " é"


@pytest.mark.parametrize(
    ("change", "word"), [({"pre": "mystery"}, "mystery"), ({"model": "bert"}, "bert")], ids=["split", "form"]
)
def test_unknown_tokenizers_are_refused(change: dict[str, str], word: str, tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", "llama", merges=MERGES, **cast("dict[str, Any]", change))
    with pytest.raises(ModelError, match=word):
        read_model(tmp_path / "model.gguf")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cut_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write(path, "llama", vocabulary=["t", "1", "2", "t1", "t2"] + [f"x{n}" for n in range(59)], merges=MERGES)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match="get it again"):
        read_model(path)


BLOCK = 256  # numbers of a block of Q4_K, Q5_K and Q6_K


def random_blocks(kind: str, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The bytes of a matrix in blocks that no quantizer has to have made; the library has none for these kinds."""
    random, quantized = np.random.default_rng(3), getattr(gguf.GGMLQuantizationType, kind)
    n_blocks, size = shape[0] * shape[1] // BLOCK, gguf.GGML_QUANT_SIZES[quantized][1]
    blocks = random.integers(0, 256, (n_blocks, size), np.uint8)
    # Scales of Q6_K are multiplied by 128 at most, those of the others by 63.
    smallest = 20_000 if kind == "Q6_K" else 2000
    scales = (random.uniform(0.5, 1, (n_blocks, 2)) / smallest).astype(np.float16).view(np.uint8)
    if kind == "Q6_K":
        blocks[:, -2:] = scales[:, :2]
    else:
        blocks[:, :4] = scales
    return blocks.reshape(shape[0], -1)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K"])
@torch.inference_mode()
def test_kinds_of_llama_cpp_s_default_files_are_read(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def quantize(array: np.ndarray[Any, Any], to: object) -> np.ndarray[Any, Any]:
        return random_blocks(kind, array.shape) if array.ndim > 1 else array.astype(np.float32)

    monkeypatch.setattr(gguf, "quantize", quantize)
    monkeypatch.setitem(SIZES, "hidden_size", BLOCK)
    monkeypatch.setitem(SIZES, "intermediate_size", BLOCK)
    monkeypatch.setitem(SIZES, "head_dim", 128)
    vocabulary = ["t", "1", "2", "t1", "t2", *(f"x{number}" for number in range(59))]
    model = write(tmp_path / "model.gguf", "llama", kind, vocabulary, merges=MERGES)
    found = read_model(tmp_path / "model.gguf")
    for name, array in found.weights.items():
        assert np.isfinite(array).all(), name
    ids = torch.randint(64, (2, 30))
    ours = load_network(found.spec, found.weights)(tgt=ids).log_softmax(-1)
    assert_close(ours, model(ids).logits.log_softmax(-1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4), ("Q8_0", 8), ("Q4_0", 8)])
def test_blocks_that_fit_are_not_rounded_again(kind: str, bits: int) -> None:
    """Neither those whose largest number is where llama.cpp puts it, nor those of queries, which have a factor."""
    quantized = getattr(gguf.GGMLQuantizationType, kind)
    matrix = np.random.default_rng(1).standard_normal((70, 96), np.float32)
    matrix[3, :32] = 0
    rounded = gguf.dequantize(gguf.quantize(matrix, quantized), quantized).astype(np.float32)
    for factor in (1.0, 96**-0.5):
        given = rounded * np.float32(factor)
        integers, scales = pack_blocks(given, bits)
        assert scales.shape == (70, 3)
        assert_close(unpack_blocks(integers, scales, bits), given, rtol=2e-6, atol=0)
    integers, scales = pack_blocks(matrix, bits)
    assert scales.shape == (70, 1)  # what was not rounded before has larger blocks
