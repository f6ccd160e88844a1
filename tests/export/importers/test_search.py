"""Searches by the rules of each family, against transformers' own, in PyTorch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from heed.export.importers.checkpoints import read_model
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.importer import load_network
from heed.export.importers.search import IRRELEVANT, NEUTRAL, decode_config
from heed.export.importers.texts import ORDINARY
from heed.models.errors import ModelError
from heed.models.tasks.translation.translator import Translator
from heed.models.tokenizers.loading import line_tokenizers
from heed.transformer.decoding import TorchNetwork
from tests.export.importers import tiny
from tests.export.importers.conftest import names

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 3, "length_penalty": 1.0},
    "a strong penalty": {"num_beams": 3, "length_penalty": 2.0},
    "no penalty": {"num_beams": 3, "length_penalty": 0.0},
    "early": {"num_beams": 3, "early_stopping": True},
    "never early": {"num_beams": 3, "early_stopping": "never"},
    "at least so many": {"num_beams": 3, "min_length": 9},
    "no bigram twice": {"num_beams": 3, "no_repeat_ngram_size": 2},
    "two ends": {"num_beams": 3, "eos_token_id": [2, 7, 11]},
    "forbidden": {"num_beams": 2, "bad_words_ids": [[5], [9], [20]], "suppress_tokens": [21]},
    "a forbidden end": {"num_beams": 2, "bad_words_ids": [[5], [2]]},
    "a forced end": {"num_beams": 3, "forced_eos_token_id": 2, "max_length": 7, "length_penalty": 6.0},
    "a forced end, by greedy search": {"num_beams": 1, "forced_eos_token_id": [2], "max_length": 7},
}


def save(path: Path, form: str, changes: dict[str, Any], **sizes: Any) -> Any:
    """Draw a model that ends sentences now and then, and say how it is to be searched."""
    model = tiny.draw(form, **sizes)
    with torch.no_grad():
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias[0, 2] += 2.5
    for key, value in ({"max_length": 16} | changes).items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(path)
    return model


def assert_the_same(path: Path, model: Any, languages: tuple[str, str] = ("", "")) -> None:
    """The outputs of some texts are those of transformers."""
    found = read_model(path)
    for name, data in found.vocabulary.files.items():
        (path / name).write_bytes(data)
    src, tgt = line_tokenizers(path, found.spec, found.vocabulary.conventions, languages)
    translator = Translator(TorchNetwork(load_network(found.spec, found.weights)), src, tgt, found.decode, split=False)
    lines = [line for line in ORDINARY if len(src.encode([line])[0]) < 39][:8]
    assert len(lines) >= 4
    outputs = set()
    for line, translation in zip(lines, translator.translate(lines), strict=True):
        source = torch.tensor([[*src.encode([line])[0], src.eos_id]])
        (output,) = model.generate(source, attention_mask=torch.ones_like(source), use_cache=False)
        expected = [token for token in output.tolist()[1:] if token not in tgt.ends and token != tgt.pad_id]
        assert [*tgt.forced, *translation.tokens] == expected
        outputs.add(tuple(expected))
    assert len(outputs) > 1


@pytest.mark.parametrize("name", SETTINGS)
def test_bart(name: str, byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    byte_level.model.save(str(tmp_path))
    size = byte_level.get_vocab_size()
    model = save(tmp_path, "bart", SETTINGS[name] | {"forced_bos_token_id": 0}, vocab_size=size)
    assert_the_same(tmp_path, model)


@pytest.mark.parametrize("name", ["beams", "early"])
def test_nllb(name: str, pieces: Callable[..., bytes], tmp_path: Path) -> None:
    sentencepiece = pieces(400, bos_id=1, eos_id=2, unk_id=0, pad_id=-1)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(sentencepiece)
    n = len(names(sentencepiece)) + 1
    added = [{"id": n + number, "content": name} for number, name in enumerate(["deu_Latn", "eng_Latn"])]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    model = save(tmp_path, "m2m100", SETTINGS[name] | {"forced_bos_token_id": n}, vocab_size=n + 2)
    assert_the_same(tmp_path, model, ("eng", "deu"))


def test_t5(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(pieces(400, pad_id=0, eos_id=1, unk_id=2))
    model = save(tmp_path, "t5-v1.1", {"num_beams": 2}, vocab_size=500, eos_token_id=1, pad_token_id=0)
    assert_the_same(tmp_path, model)


def test_marian(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    """As an OPUS-MT model says it: padding is forbidden, probabilities are among all others, and the end is forced."""
    model = pieces(400, pad_id=-1, eos_id=0, unk_id=1, bos_id=-1)
    table = {piece: number for number, piece in enumerate([*names(model), "<pad>"])}
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(model)
    (tmp_path / "vocab.json").write_text(json.dumps(table))
    ids = {"pad_token_id": table["<pad>"], "decoder_start_token_id": table["<pad>"], "eos_token_id": 0}
    said = {"bad_words_ids": [[table["<pad>"]]], "renormalize_logits": True, "forced_eos_token_id": 0, "num_beams": 4}
    drawn = save(tmp_path, "marian", said | ids | {"max_length": 12}, vocab_size=len(table), **ids)
    with torch.no_grad():
        drawn.final_logits_bias[0, 0] += 4
        drawn.final_logits_bias[0, table["<pad>"]] += 10
    drawn.save_pretrained(tmp_path)
    assert_the_same(tmp_path, drawn)


def test_old_files_of_bart_force_the_first_token_by_a_flag(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    byte_level.model.save(str(tmp_path))
    tiny.save("bart", tmp_path, vocab_size=byte_level.get_vocab_size())
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"force_bos_token_to_be_generated": True}))
    model = tiny.model_class("Bart").from_pretrained(tmp_path)
    assert model.generation_config.forced_bos_token_id == 0
    assert read_model(tmp_path).vocabulary.conventions.forced == (0,)


def test_every_setting_of_transformers_is_known() -> None:
    """Each is read, refused if it changes outputs, or of no account for a search; a new one has to be classified."""
    read = {"early_stopping", "forced_bos_token_id", "length_penalty", "max_length", "max_new_tokens", "min_length"}
    read |= {"min_new_tokens", "no_repeat_ngram_size", "num_beams", "repetition_penalty", "renormalize_logits"}
    read |= {"bad_words_ids", "forced_eos_token_id", "suppress_tokens"}
    settings = vars(transformers.GenerationConfig())
    assert {key for key in settings if not key.startswith("_")} - read - NEUTRAL.keys() - IRRELEVANT == set()


def test_words_of_several_tokens_cannot_be_forbidden(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    byte_level.model.save(str(tmp_path))
    save(tmp_path, "bart", {"bad_words_ids": [[5, 6]]}, vocab_size=byte_level.get_vocab_size())
    with pytest.raises(ModelError, match="several tokens"):
        read_model(tmp_path)


def test_a_search_that_heed_cannot_do_is_refused(tmp_path: Path) -> None:
    tiny.save("bart", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"encoder_no_repeat_ngram_size": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="encoder_no_repeat_ngram_size"):
        decode_config(Checkpoint(tmp_path))


SUMMARIZATION = {
    "prefix": "summarize: ",
    "num_beams": 3,
    "no_repeat_ngram_size": 2,
    "min_length": 5,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 1.5},
        {"stop_strings": ["x"]},
        {"sequence_bias": [[[5], 2.0]]},
        {"forced_eos_token_id": 9},
        {"renormalize_logits": True, "bad_words_ids": [[5]], "min_length": 4},
    ],
    ids=str,
)
def test_what_would_change_outputs_is_refused_by_name(changes: dict[str, Any], tmp_path: Path) -> None:
    tiny.save("bart", tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=next(iter(changes))):
        decode_config(Checkpoint(tmp_path))


@pytest.mark.parametrize("task", ["summarization", "summarize"])
def test_a_task_has_a_prefix_and_settings(task: str, pieces: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(pieces(400, pad_id=0, eos_id=1, unk_id=2))
    tiny.save("t5", tmp_path, vocab_size=500, eos_token_id=1, pad_token_id=0)
    tasks = {"translation_en_to_de": {"prefix": "translate English to German: "}, "summarization": SUMMARIZATION}
    config = json.loads((tmp_path / "config.json").read_text()) | {"task_specific_params": tasks}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_model(tmp_path, task)
    assert found.vocabulary.conventions.prefix == "summarize: "
    assert (found.decode.beam_size, found.decode.no_repeat_ngram, found.decode.min_length) == (3, 2, 4)
    assert read_model(tmp_path).vocabulary.conventions.prefix is None
    with pytest.raises(ModelError, match="did you mean summarization"):
        read_model(tmp_path, "summarisation")


def test_what_the_newer_file_says_counts(tmp_path: Path) -> None:
    tiny.save("bart", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_beams": 6, "length_penalty": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text(json.dumps({"num_beams": 5, "eos_token_id": 2}))
    found = decode_config(Checkpoint(tmp_path))
    assert (found.beam_size, found.length_penalty, found.by_length) == (5, 0.5, True)
