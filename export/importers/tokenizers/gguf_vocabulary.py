"""The tokenizer that a GGUF file holds."""

from collections.abc import Mapping
from typing import Any

import sentencepiece.sentencepiece_model_pb2

from heed.export.importers.formats.gguf_file import GgufFile
from heed.export.importers.tokenizers.vocabulary import Vocabulary, byte_level
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.tokenizers.files import FILE, JOINT

CONTROL, USER = 3, 4  # types of tokens
# How texts are split before merges, by the names that llama.cpp has for it.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS = {"default": None, "gpt-2": None, "smollm": "digits", "llama-bpe": LLAMA3, "qwen2": QWEN2}


def gguf_vocabulary(file: GgufFile, n_rows: int) -> Vocabulary:
    """The tokenizer of a file, as a bundle has it.

    Raises:
        ModelError: It is damaged, or of a form that heed does not know.
    """
    data, kind = file.metadata, file.metadata.get("tokenizer.ggml.model")
    tokens, types = _listed(file, "tokens", str), _listed(file, "token_type", int)
    if len(tokens) > n_rows or len(types) != len(tokens):
        raise ModelError(f"{file.path}: {len(tokens):,} tokens, and the network has {n_rows:,}; get it again")
    names = {"gpt2": (FILE, _byte_level), "llama": (JOINT, _sentencepiece)}
    if kind not in names:
        raise ModelError(f"{file.path}: a tokenizer of the form {kind!r}, and heed knows {' and '.join(names)}")
    name, write = names[str(kind)]
    written = write(file, tokens, types)
    ids = {key: data.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "eot", "padding")}
    known = {key: number for key, number in ids.items() if isinstance(number, int) and 0 <= number < len(tokens)}
    ends = list(dict.fromkeys(known[key] for key in ("eos", "eot") if key in known))
    if not ends:
        raise ModelError(f"{file.path}: names no token that ends a text; get it again")
    usual = kind == "llama" or data.get("tokenizer.ggml.pre") == "llama-bpe"
    conventions = Conventions(
        tokenizer="library" if name == FILE else "sentencepiece",
        start_id=known.get("bos", ends[0]),
        starts_texts=bool(data.get("tokenizer.ggml.add_bos_token", usual)),
        ends=tuple(ends),
        pad_id=known.get("padding", ends[0]),
        suppressed=tuple(range(len(tokens), n_rows)),
    )
    return Vocabulary(conventions, {name: written})


def _listed(file: GgufFile, key: str, kind: type) -> list[Any]:
    found = file.metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
        raise ModelError(f"{file.path}: tokenizer.ggml.{key} is missing or damaged; get it again")
    return found


def _byte_level(file: GgufFile, tokens: list[str], types: list[int]) -> bytes:
    """A tokenizer of the library: byte-level pieces and their merges."""
    import tokenizers
    from tokenizers import pre_tokenizers

    split = file.metadata.get("tokenizer.ggml.pre")
    if split not in SPLITS:
        raise ModelError(
            f"{file.path}: splits texts by {split!r}, and heed knows {', '.join(SPLITS)}; get a newer file"
        )
    merges = [tuple(merge.split(" ", 1)) for merge in _listed(file, "merges", str)]
    special = {token: kind for token, kind in zip(tokens, types, strict=True) if kind in (CONTROL, USER)}
    try:
        model = tokenizers.models.BPE(
            {token: number for number, token in enumerate(tokens)}, merges, ignore_merges=split == "llama-bpe"
        )
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise ModelError(f"{file.path}: its tokenizer is damaged ({error}); get it again") from None
    found = byte_level(model)
    levels = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if SPLITS[split] == "digits":
        found.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), levels])
    elif SPLITS[split]:
        pattern = pre_tokenizers.Split(tokenizers.Regex(str(SPLITS[split])), "isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        found.pre_tokenizer = pre_tokenizers.Sequence([pattern, plain])
    if split == "qwen2":
        found.normalizer = tokenizers.normalizers.NFC()
    _add(found, special)
    return found.to_str().encode()


def _add(found: Any, special: Mapping[str, int]) -> None:
    """Tell a tokenizer which tokens are found in texts as they stand."""
    import tokenizers

    found.add_special_tokens([token for token, kind in special.items() if kind == CONTROL])
    plain = [token for token, kind in special.items() if kind == USER]
    found.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in plain])


def _sentencepiece(file: GgufFile, tokens: list[str], types: list[int]) -> bytes:
    """A SentencePiece model, of pieces with scores by which they are merged."""
    scores = _listed(file, "scores", float)
    if len(scores) != len(tokens):
        raise ModelError(f"{file.path}: tokenizer.ggml.scores is damaged; get it again")
    protobuf: Any = sentencepiece.sentencepiece_model_pb2  # whose classes are made when it is imported
    model = protobuf.ModelProto()
    for token, score, kind in zip(tokens, scores, types, strict=True):
        model.pieces.add(piece=token, score=score, type=kind)
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = 2, True  # BPE
    model.normalizer_spec.name, model.normalizer_spec.remove_extra_whitespaces = "identity", False
    model.normalizer_spec.add_dummy_prefix = bool(file.metadata.get("tokenizer.ggml.add_space_prefix", True))
    written: bytes = model.SerializeToString()
    return written
