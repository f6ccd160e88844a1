"""The token ids of families' tokenizers, against transformers' own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
import transformers

from heed.export.importers.checkpoints import ImportedModel, read_model
from heed.export.importers.families.m2m100 import LANGUAGES
from heed.export.importers.texts import VARIANTS
from heed.models.tokenizers.loading import line_tokenizers, text_tokenizer
from heed.models.tokenizers.protocol import LineTokenizer
from tests.export.importers import tiny
from tests.export.importers.conftest import names

LINES = [" ".join(text.split()) for text in VARIANTS]


def lines_of(
    model: ImportedModel, path: Path, languages: tuple[str, str] = ("", "")
) -> tuple[LineTokenizer, LineTokenizer]:
    """The tokenizers of a model that translates, by way of a bundle's files."""
    for name, data in model.vocabulary.files.items():
        (path / name).write_bytes(data)
    return line_tokenizers(path, model.spec, model.vocabulary.conventions, languages)


def test_m2m100_tells_languages_by_tokens_behind_the_pieces(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    model = pieces(400, bos_id=0, eos_id=2, unk_id=1, pad_id=-1)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    known = special + [piece for piece in names(model) if piece not in special][:-20]  # it lacks some, as M2M100's does
    (tmp_path / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(known)}))
    tiny.save("m2m100", tmp_path, vocab_size=len(known) + len(LANGUAGES) + 8)
    theirs = transformers.M2M100Tokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "sentencepiece.bpe.model"), src_lang="en", tgt_lang="de"
    )
    found = read_model(tmp_path)
    src, tgt = lines_of(found, tmp_path, ("en", "de"))
    assert [[*ids, src.eos_id] for ids in src.encode(LINES)] == [theirs(line).input_ids for line in LINES]
    assert tgt.forced == (theirs.get_lang_id("de"),)
    assert found.vocabulary.conventions.suppressed == tuple(range(len(src) - 8, len(src)))
    ids = tgt.encode(LINES)
    assert tgt.decode([[*tgt.forced, *row, tgt.eos_id] for row in ids]) == [
        str(theirs.decode(row, skip_special_tokens=True)).strip() for row in ids
    ]


def test_nllb_shifts_ids_and_names_languages_in_its_tokenizer_json(
    pieces: Callable[..., bytes], tmp_path: Path
) -> None:
    model = pieces(400, bos_id=1, eos_id=2, unk_id=0, pad_id=-1)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    n = len(names(model)) + 1
    added = [{"id": n + number, "content": name} for number, name in enumerate(["deu_Latn", "eng_Latn", "<mask>"])]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    tiny.save("m2m100", tmp_path, vocab_size=n + 5)
    src, tgt = lines_of(read_model(tmp_path), tmp_path, ("en", "deu"))
    (ids,) = src.encode(["the train"])
    assert ids[0] == n + 1
    assert tgt.forced == (n,)
    assert [src.piece(number) for number in src.encode(["Zug"])[0][1:]] == [
        tgt.piece(number) for number in tgt.encode(["Zug"])[0]
    ]
    assert names(model)[ids[1] - 1] == src.piece(ids[1])


def test_t5_s_placeholders_count_down(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    model = pieces(400, pad_id=0, eos_id=1, unk_id=2)
    (tmp_path / "spiece.model").write_bytes(model)
    original = tiny.save("t5", tmp_path, vocab_size=400 + 100 + 12, eos_token_id=1, pad_token_id=0)
    assert original.config.eos_token_id == 1
    found = read_model(tmp_path)
    src, _ = lines_of(found, tmp_path)
    theirs = transformers.T5Tokenizer.from_pretrained(tmp_path)
    assert [[*ids, src.eos_id] for ids in src.encode(LINES)] == [theirs(line).input_ids for line in LINES]
    assert src.piece(499) == "<extra_id_0>"
    assert src.piece(400) == "<extra_id_99>"
    assert found.vocabulary.conventions.suppressed == tuple(range(500, 512))


def test_bart_s_texts_stand_between_two_tokens(byte_level: tokenizers.Tokenizer, tmp_path: Path) -> None:
    byte_level.model.save(str(tmp_path))
    tiny.save("bart", tmp_path, vocab_size=byte_level.get_vocab_size() + 3)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"forced_bos_token_id": 0}))
    found = read_model(tmp_path)
    src, tgt = lines_of(found, tmp_path)
    expected = [[0, *byte_level.encode(line, add_special_tokens=False).ids] for line in LINES]
    assert src.encode(LINES) == expected
    assert tgt.forced == (0,)
    assert tgt.decode([ids[1:] for ids in expected]) == [line.strip() for line in LINES]


def test_llama_2_s_pieces_have_sentencepiece_s_ids(pieces: Callable[..., bytes], tmp_path: Path) -> None:
    model = pieces(
        700,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    (tmp_path / "tokenizer.model").write_bytes(model)
    tiny.save("llama", tmp_path, vocab_size=704, bos_token_id=1, eos_token_id=2)
    found = read_model(tmp_path)
    assert found.vocabulary.conventions.starts_texts
    (tmp_path / "bundle").mkdir()
    for name, data in found.vocabulary.files.items():
        (tmp_path / "bundle" / name).write_bytes(data)
    tokenizer = text_tokenizer(tmp_path / "bundle", found.spec, found.vocabulary.conventions)
    for text in VARIANTS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == " " + text.replace("▁", " ")  # which SentencePiece takes for a space


@pytest.mark.parametrize(
    ("asked", "expected"), [("de", "deu_Latn"), ("deu", "deu_Latn"), ("deu_Latn", "deu_Latn"), ("zh", None)]
)
def test_languages_have_iso_codes(asked: str, expected: str | None) -> None:
    from heed.models.errors import ModelError
    from heed.models.spec.conventions import language

    known = {"deu_Latn": 1, "zho_Hans": 2, "zho_Hant": 3, "eng_Latn": 4}
    if expected is None:
        with pytest.raises(ModelError, match="zho_Hans or zho_Hant"):
            language(asked, known)
    else:
        assert language(asked, known) == expected
