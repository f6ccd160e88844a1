"""What families' maps of tokenizers have in common: special ids, and the files of a bundle's tokenizer."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import sentencepiece

from heed.export.importers.formats.checkpoint import Checkpoint, read_table
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.files import FILE, JOINT, SEPARATE, VOCABULARY
from heed.models.tokenizers.library import load_library

if TYPE_CHECKING:
    import tokenizers

CONFIG = "tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of a checkpoint, as a bundle has it."""

    conventions: Conventions
    files: Mapping[str, bytes]  # by their names in the bundle


def read_file(checkpoint: Checkpoint, *names: str) -> bytes:
    """The first of some files that there is.

    Raises:
        ModelError: It does not exist.
    """
    for name in names:
        if (checkpoint.path / name).is_file():
            return (checkpoint.path / name).read_bytes()
    raise ModelError(f"{checkpoint.path}: has no {' or '.join(names)}, so no tokenizer; get the whole model")


def has(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a file is there."""
    return (checkpoint.path / name).is_file()


def one_id(checkpoint: Checkpoint, *keys: str) -> int:
    """The token id that the first of some keys names.

    Raises:
        ModelError: None does.
    """
    for key in keys:
        value = checkpoint.generation.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise ModelError(f"{checkpoint.path}: names no {' or '.join(keys)}, which heed must know; get the model again")


def ends(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The tokens that end outputs."""
    first, value = one_id(checkpoint, "eos_token_id"), checkpoint.generation["eos_token_id"]
    return tuple(_ints(value)) if isinstance(value, list) else (first,)


def forced(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The tokens that outputs are forced to begin with; old files of BART say by a flag that it is the first one."""
    table = checkpoint.generation
    flagged = table.get("force_bos_token_to_be_generated") is True
    first = table.get("forced_bos_token_id")
    return tuple(_ints([table.get("bos_token_id") if first is None and flagged else first]))


def suppressed(checkpoint: Checkpoint, also: Iterable[int] = ()) -> tuple[int, ...]:
    """The tokens that are never put out; no end of outputs is among them.

    Raises:
        ModelError: Words of several tokens are forbidden.
    """
    table = checkpoint.generation
    words, tokens = table.get("bad_words_ids") or [], table.get("suppress_tokens") or []
    assert isinstance(words, list)
    if any(not isinstance(word, list) or len(word) != 1 for word in words):
        raise ModelError(f"{checkpoint.path}: bad_words_ids forbids words of several tokens, and heed forbids tokens")
    ends = table.get("eos_token_id")
    forbidden = set(_ints([word[0] for word in words])) - set(_ints(ends if isinstance(ends, list) else [ends]))
    return tuple(sorted({*forbidden, *_ints(tokens), *also}))


def _ints(values: object) -> list[int]:
    listed = values if isinstance(values, list) else []
    return [value for value in listed if isinstance(value, int) and not isinstance(value, bool)]


def pieces_of(path: Path) -> list[str]:
    """The pieces of a vocab.json, by their ids.

    Raises:
        ModelError: It is damaged.
    """
    table = read_table(path)
    ids = list(table.values())
    if sorted(map(str, ids)) != sorted(map(str, range(len(ids)))):
        raise ModelError(f"{path}: damaged (ids are not 0 to {len(ids) - 1}); get it again")
    return sorted(table, key=lambda piece: int(str(table[piece])))


def filled(pieces: list[str], n: int, where: Path) -> tuple[list[str], range]:
    """Pieces for as many rows as a network has, and which rows are no token.

    Raises:
        ModelError: There are more pieces than rows.
    """
    if len(pieces) > n:
        raise ModelError(f"{where}: has {len(pieces):,} tokens, and the network {n:,}; get the model again")
    missing = range(len(pieces), n)
    return pieces + [f"<unused {number}>" for number in missing], missing


def mapped_files(models: list[bytes], lists: list[list[str]]) -> dict[str, bytes]:
    """The files of a tokenizer that maps pieces, one for both sides or two."""
    names = (JOINT,) if len(set(models)) == 1 else SEPARATE
    found = dict(zip(names, models, strict=False))
    joint = all(pieces == lists[0] for pieces in lists)
    sides = ("",) if joint else (".src", ".tgt")
    for side, pieces in zip(sides, lists, strict=False):
        found[VOCABULARY.replace(".json", f"{side}.json")] = json.dumps(pieces, ensure_ascii=False).encode()
    return found


def library_file(checkpoint: Checkpoint) -> bytes:
    """A tokenizer.json: the checkpoint's own, or one made of the older vocab.json and merges.txt.

    Raises:
        ModelError: There is neither.
    """
    if has(checkpoint, FILE):
        return read_file(checkpoint, FILE)
    if not has(checkpoint, "vocab.json") or not has(checkpoint, "merges.txt"):
        raise ModelError(f"{checkpoint.path}: has no {FILE} nor vocab.json with merges.txt; get the whole model")
    return _merged_file(checkpoint.path)


def _merged_file(path: Path) -> bytes:
    """A tokenizer.json made of vocab.json and merges.txt."""
    import tokenizers

    try:
        model = tokenizers.models.BPE.from_file(str(path / "vocab.json"), str(path / "merges.txt"))
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise ModelError(f"{path}: vocab.json or merges.txt is damaged ({error}); get it again") from None
    return byte_level(model).to_str().encode()


def byte_level(model: "tokenizers.models.BPE") -> "tokenizers.Tokenizer":
    """GPT-2's tokenizer, given its pieces and merges."""
    import tokenizers

    found = tokenizers.Tokenizer(model)
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = tokenizers.decoders.ByteLevel()
    return found


def library_rows(data: bytes, n: int, checkpoint: Checkpoint) -> range:
    """The rows of a network that are no token of a tokenizer of the library.

    Raises:
        ModelError: It has more tokens than the network.
    """
    size = max(load_library(data, str(checkpoint.path / FILE)).get_vocab().values(), default=-1) + 1
    if size > n:
        raise ModelError(f"{checkpoint.path / FILE}: has {size:,} tokens, and the network {n:,}; get the model again")
    return range(size, n)


def sentencepiece_pieces(model: bytes, checkpoint: Checkpoint) -> list[str]:
    """The pieces of a SentencePiece model.

    Raises:
        ModelError: The bytes are no such model.
    """
    loaded = processor(model, checkpoint.path)
    return [str(loaded.id_to_piece(number)) for number in range(loaded.get_piece_size())]


def processor(model: bytes, where: Path) -> sentencepiece.SentencePieceProcessor:
    """A SentencePiece model.

    Raises:
        ModelError: The bytes are no such model.
    """
    loaded = sentencepiece.SentencePieceProcessor()
    try:
        loaded.LoadFromSerializedProto(model)
    except RuntimeError:
        raise ModelError(f"{where}: its SentencePiece model is damaged; get it again") from None
    return loaded


def shifted(model: bytes, checkpoint: Checkpoint) -> list[str]:
    """The pieces by fairseq's ids: its own special ones, then SentencePiece's behind its three."""
    return ["<s>", "<pad>", "</s>", "<unk>", *sentencepiece_pieces(model, checkpoint)[3:]]


def added_tokens(checkpoint: Checkpoint) -> dict[str, int]:
    """The ids of tokens that were added to a tokenizer, as its tokenizer.json says, or its tokenizer_config.json."""
    if has(checkpoint, FILE):
        listed = read_table(checkpoint.path / FILE).get("added_tokens")
        rows = listed if isinstance(listed, list) else []
    elif has(checkpoint, CONFIG):
        table = read_table(checkpoint.path / CONFIG).get("added_tokens_decoder")
        known = table if isinstance(table, dict) else {}
        rows = [
            each | {"id": int(number)} for number, each in known.items() if isinstance(each, dict) and number.isdigit()
        ]
    else:
        return {}
    tokens = [(row.get("content"), row.get("id")) for row in rows if isinstance(row, dict)]
    return {token: number for token, number in tokens if isinstance(token, str) and isinstance(number, int)}


def with_added(pieces: list[str], added: Mapping[str, int], checkpoint: Checkpoint) -> list[str]:
    """Pieces and, behind them, tokens that were added.

    Raises:
        ModelError: One of these has the id of another piece.
    """
    found = dict(enumerate(pieces)) | {number: token for token, number in added.items() if number >= len(pieces)}
    if wrong := [token for token, number in added.items() if found.get(number) != token]:
        raise ModelError(f"{checkpoint.path}: {wrong[0]!r} has the id of another token; get the model again")
    if max(found) > len(found) + len(pieces):
        raise ModelError(f"{checkpoint.path}: an added token has the id {max(found):,}; get the model again")
    return [found.get(number, f"<unused {number}>") for number in range(max(found) + 1)]


def texts(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """The tokenizer of a model that continues texts: SentencePiece, where that is there, or one of the library.

    Raises:
        ModelError: It is missing or damaged, or outputs are forced to begin with a token.
    """
    if forced(checkpoint):
        raise ModelError(
            f"{checkpoint.path}: forced_bos_token_id must be absent for heed in a model that continues texts"
        )
    n_rows = spec.stacks["decoder"].vocab_size
    if has(checkpoint, "tokenizer.model"):
        data, name = read_file(checkpoint, "tokenizer.model"), JOINT
        unused: Iterable[int] = filled(sentencepiece_pieces(data, checkpoint), n_rows, checkpoint.path)[1]
        starts = _says(checkpoint, "add_bos_token", default=True)
    else:
        data, name = library_file(checkpoint), FILE
        unused = library_rows(data, n_rows, checkpoint)
        starts = starts_texts(data, one_id(checkpoint, "bos_token_id", "eos_token_id"))
    end_ids = ends(checkpoint)
    conventions = Conventions(
        tokenizer="library" if name == FILE else "sentencepiece",
        start_id=one_id(checkpoint, "bos_token_id", "eos_token_id"),
        starts_texts=starts,
        ends=end_ids,
        pad_id=_pad(checkpoint, end_ids[0]),
        suppressed=suppressed(checkpoint, unused),
    )
    return Vocabulary(conventions, {name: data})


def starts_texts(data: bytes, start_id: int) -> bool:
    """Whether a tokenizer of the library puts a beginning before a text."""
    encoding = load_library(data, FILE).encode("a", add_special_tokens=True)
    return bool(encoding.ids[:1] == [start_id] and encoding.special_tokens_mask[0])


def _says(checkpoint: Checkpoint, key: str, *, default: bool) -> bool:
    table = read_table(checkpoint.path / CONFIG) if has(checkpoint, CONFIG) else {}
    value = table.get(key, default)
    return value if isinstance(value, bool) else default


def _pad(checkpoint: Checkpoint, default: int) -> int:
    value = checkpoint.generation.get("pad_token_id")
    return value if isinstance(value, int) and value >= 0 else default
