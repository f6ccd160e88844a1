"""Checkpoints of tiny random models, with tokenizers trained on the texts of the proof."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig

from heed.export.importers.texts import TEXTS
from tests.export.importers import tiny


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Trains SentencePiece models: of how many pieces, and with which special ids."""
    directory = tmp_path_factory.mktemp("pieces")
    (directory / "text").write_text("\n".join(" ".join(text.split()) for text in TEXTS * 20))

    def train(vocab_size: int, **options: object) -> bytes:
        ids: dict[str, Any] = {"pad_id": -1, "bos_id": -1, "eos_id": 0, "unk_id": 1} | options
        sentencepiece.SentencePieceTrainer.train(
            input=str(directory / "text"),
            model_prefix=str(directory / "model"),
            vocab_size=vocab_size,
            character_coverage=0.99,
            minloglevel=2,
            **ids,
        )
        return (directory / "model.model").read_bytes()

    return train


def names(model: bytes) -> list[str]:
    """The pieces of a model."""
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory, pieces: Callable[..., bytes]) -> Path:
    """A Marian that translates into several languages. Do not write to it."""
    path = tmp_path_factory.mktemp("marian")
    sides = {"source": pieces(420), "target": pieces(400)}
    for side, model in sides.items():
        (path / f"{side}.spm").write_bytes(model)
    both = {piece for model in sides.values() for piece in names(model)} | {">>deu<<", ">>fra<<"}
    vocabulary = ["</s>", "<unk>", *sorted(both - {"</s>", "<unk>"}), "<pad>"]
    (path / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(vocabulary)}))
    pad_id = len(vocabulary) - 1
    special = {"pad_token_id": pad_id, "eos_token_id": 0, "decoder_start_token_id": pad_id}
    model = tiny.draw("marian", vocab_size=len(vocabulary), bos_token_id=None, max_position_embeddings=99, **special)
    model.generation_config = GenerationConfig(num_beams=3, max_length=24, bad_words_ids=[[pad_id]], **special)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> tokenizers.Tokenizer:
    """A tokenizer of byte-level pieces, with three special ones."""
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    found.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    return found


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory, byte_level: tokenizers.Tokenizer) -> Path:
    """A Llama 3 whose texts begin with a token of their own, with two ends. Do not write to it."""
    path = tmp_path_factory.mktemp("llama")
    tokenizer = tokenizers.Tokenizer.from_str(byte_level.to_str())
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    tokenizer.save(str(path / "tokenizer.json"))
    sizes = {"vocab_size": tokenizer.get_vocab_size() + 5, "max_position_embeddings": 256}
    tiny.save("llama3", path, bos_token_id=0, eos_token_id=[1, 2], **sizes)
    return path
