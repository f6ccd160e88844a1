"""How an encoder alone reads texts: its tokenizer and special ids, and how its states become vectors."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heed.export.importers.formats.checkpoint import Checkpoint, read_table
from heed.export.importers.tokenizers.unigram import from_unigram
from heed.export.importers.tokenizers.vocabulary import (
    CONFIG,
    Vocabulary,
    filled,
    has,
    library_file,
    library_rows,
    mapped_files,
    read_file,
    shifted,
)
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.files import FILE
from heed.models.tokenizers.library import load_library

SENTENCEPIECE = "sentencepiece.bpe.model"
UNKNOWN = "[UNK]"
# Pooling by sentence-transformers' names: one key since its version 5, one flag for each before.
POOLINGS = {"mean": "mean", "cls": "first", "max": "max", "lasttoken": "last"}
FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


def word_pieces(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """BERT's pieces of words, between [CLS] and [SEP]."""
    data = read_file(checkpoint, FILE) if has(checkpoint, FILE) else _from_list(checkpoint)
    return _of_library(checkpoint, spec, data, begin="[CLS]", end="[SEP]", mask="[MASK]", pad="[PAD]")


def byte_level(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """RoBERTa's byte-level pieces, between `<s>` and `</s>`."""
    return _of_library(checkpoint, spec, library_file(checkpoint), begin="<s>", end="</s>", mask="<mask>", pad="<pad>")


def sentencepiece(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """XLM-RoBERTa's pieces: SentencePiece's by fairseq's ids, and a mask behind them."""
    if not has(checkpoint, SENTENCEPIECE):
        return byte_level(checkpoint, spec)
    model = read_file(checkpoint, SENTENCEPIECE)
    known = [*shifted(model, checkpoint), "<mask>"]
    pieces, unused = filled(known, spec.last.vocab_size, checkpoint.path / SENTENCEPIECE)
    conventions = Conventions(
        tokenizer="mapped",
        start_id=0,
        before=(0,),
        ends=(2,),
        pad_id=1,
        mask_id=len(known) - 1,
        suppressed=tuple(unused),
        **_prefixes(checkpoint),
    )
    return Vocabulary(conventions, mapped_files([model], [pieces]))


def unigram(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """XLNet's pieces, before `<sep>` and `<cls>`."""
    data = read_file(checkpoint, FILE) if has(checkpoint, FILE) else from_unigram(checkpoint)
    return _of_library(checkpoint, spec, data, after="<cls>", end="<sep>", mask="<mask>", pad="<pad>")


def _of_library(
    checkpoint: Checkpoint,
    spec: NetworkSpec,
    data: bytes,
    *,
    begin: str | None = None,
    end: str,
    after: str | None = None,
    mask: str,
    pad: str,
) -> Vocabulary:
    """A tokenizer of the library `tokenizers`, given its special tokens."""
    library = load_library(data, str(checkpoint.path / FILE))
    found = {name: library.token_to_id(name) for name in (begin, end, after, pad) if name is not None}
    ids = {name: number for name, number in found.items() if number is not None}
    if missing := sorted(found.keys() - ids.keys()):
        raise ModelError(f"{checkpoint.path}: its tokenizer has no {missing[0]}; get the model again")
    conventions = Conventions(
        tokenizer="library",
        start_id=ids[end if begin is None else begin],
        before=() if begin is None else (ids[begin],),
        ends=(ids[end],),
        after=None if after is None else (ids[after],),
        pad_id=ids[pad],
        mask_id=library.token_to_id(mask),
        suppressed=tuple(library_rows(data, spec.last.vocab_size, checkpoint)),
        **_prefixes(checkpoint),
    )
    return Vocabulary(conventions, {FILE: data})


def _from_list(checkpoint: Checkpoint) -> bytes:
    """A tokenizer.json made of BERT's older vocab.txt."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    pieces = read_file(checkpoint, "vocab.txt", FILE).decode("utf-8", "replace").split("\n")
    table = {piece.rstrip("\r"): number for number, piece in enumerate(pieces) if piece.strip()}
    config = read_table(checkpoint.path / CONFIG) if has(checkpoint, CONFIG) else {}
    accents = config.get("strip_accents")
    found = tokenizers.Tokenizer(models.WordPiece(table, unk_token=UNKNOWN))
    found.normalizer = normalizers.BertNormalizer(
        lowercase=config.get("do_lower_case") is not False,
        strip_accents=accents if isinstance(accents, bool) else None,
        handle_chinese_chars=config.get("tokenize_chinese_chars") is not False,
    )
    found.pre_tokenizer, found.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    found.add_special_tokens([token for token in ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]") if token in table])
    return str(found.to_str()).encode()


def _prefixes(checkpoint: Checkpoint) -> dict[str, Any]:
    """What texts begin with, by their use ("query: "), and by default, as sentence-transformers' file says."""
    path = checkpoint.path / "config_sentence_transformers.json"
    table = read_table(path) if path.is_file() else {}
    prompts, usual = table.get("prompts"), table.get("default_prompt_name")
    if not isinstance(prompts, dict) or not any(prompts.values()):
        return {}
    if not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(f"{path}: damaged (a prompt is no text); get it again")
    return {"prefixes": prompts, "prefix": prompts.get(usual)}


def embedding(checkpoint: Checkpoint, usual: EmbeddingSpec) -> EmbeddingSpec:
    """How states become vectors: what sentence-transformers' files say, or else what is usual in the family.

    Raises:
        ModelError: Vectors are made in a way that heed does not know.
    """
    path = checkpoint.path / "modules.json"
    if not path.is_file():
        return usual
    found = EmbeddingSpec(max_tokens=_longest(checkpoint))
    for module in _modules(path):
        kind = str(module.get("type")).rpartition(".")[2]
        if kind not in MODULES:
            raise ModelError(f"{path}: heed knows no {kind}, which changes the vectors; choose another model")
        found = MODULES[kind](found, checkpoint.path / str(module.get("path")))
    return found


def _modules(path: Path) -> list[dict[str, object]]:
    try:
        modules = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: no JSON ({error}); get it again") from None
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelError(f"{path}: no list of modules; get it again")
    if wrong := [module for module in modules if ".." in Path(str(module.get("path"))).parts]:
        raise ModelError(f"{path}: {wrong[0].get('path')!r} is no folder beside it; get the model again")
    return modules


def _longest(checkpoint: Checkpoint) -> int | None:
    """The tokens at which texts are cut."""
    path = checkpoint.path / "sentence_bert_config.json"
    table = read_table(path) if path.is_file() else {}
    if table.get("do_lower_case") is True:
        raise ModelError(f"{path}: do_lower_case must be false for heed, which leaves that to the tokenizer")
    value = table.get("max_seq_length")
    return value if isinstance(value, int) and value > 0 else None


def _pooled(spec: EmbeddingSpec, path: Path) -> EmbeddingSpec:
    config = path / "config.json"
    table = read_table(config)
    if isinstance(table.get("pooling_mode"), str):
        pooling = POOLINGS.get(str(table["pooling_mode"]))
    else:
        chosen = [key for key, value in table.items() if key.startswith("pooling_mode_") and value is True]
        pooling = FLAGS.get(chosen[0]) if len(chosen) == 1 else None
    if pooling is None:
        raise ModelError(f"{config}: heed pools by {', '.join(POOLINGS)}, and this is another way")
    if table.get("include_prompt") is False:
        raise ModelError(f"{config}: include_prompt must be true for heed")
    return dataclasses.replace(spec, pooling=pooling)


MODULES: dict[str, Callable[[EmbeddingSpec, Path], EmbeddingSpec]] = {
    "Transformer": lambda spec, _: spec,
    "Pooling": _pooled,
    "Normalize": lambda spec, _: dataclasses.replace(spec, normalize=True),
}
