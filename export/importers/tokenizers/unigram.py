"""A tokenizer of the library `tokenizers`, made of XLNet's SentencePiece model."""

from typing import Any

import sentencepiece.sentencepiece_model_pb2

from heed.export.importers.formats.checkpoint import Checkpoint, read_table
from heed.export.importers.tokenizers.vocabulary import CONFIG, has, read_file, sentencepiece_pieces
from heed.models.errors import ModelError
from heed.models.tokenizers.files import FILE

MODEL = "spiece.model"
MASK = "<mask>"  # which takes the space before it
UNIGRAM, UNKNOWN, CONTROL = 1, 2, 3  # SentencePiece's numbers of this kind of model, and of two kinds of pieces
# Added to the score of a piece of a digit and a comma, so that it is never chosen: XLNet splits such pieces.
NEVER = -100.0


def from_unigram(checkpoint: Checkpoint) -> bytes:
    """The tokenizer.json of a checkpoint of XLNet that has none.

    Raises:
        ModelError: It has no SentencePiece model either, or a damaged or another one.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    proto = _proto(checkpoint)
    pieces = [(piece.piece, piece.score + NEVER * _joins_comma(piece.piece)) for piece in proto.pieces]
    try:
        found = tokenizers.Tokenizer(models.Unigram(pieces, proto.trainer_spec.unk_id, byte_fallback=False))
        found.normalizer = _normalizer(checkpoint, proto.normalizer_spec.precompiled_charsmap)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise ModelError(f"{checkpoint.path / MODEL}: damaged ({error}); get it again") from None
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always")
    found.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
    found.decoder = decoders.Metaspace(prepend_scheme="always")
    special = [piece.piece for piece in proto.pieces if piece.type in (CONTROL, UNKNOWN)]
    found.add_special_tokens([tokenizers.AddedToken(piece, lstrip=piece == MASK) for piece in special])
    return str(found.to_str()).encode()


def _proto(checkpoint: Checkpoint) -> Any:
    """The SentencePiece model."""
    protobuf: Any = sentencepiece.sentencepiece_model_pb2  # whose classes are made when it is imported
    data, found = read_file(checkpoint, MODEL, FILE), protobuf.ModelProto()
    sentencepiece_pieces(data, checkpoint)  # refuses a damaged one
    found.ParseFromString(data)
    if found.trainer_spec.model_type != UNIGRAM:
        raise ModelError(f"{checkpoint.path / MODEL}: a SentencePiece model of another kind than XLNet's, unigram")
    return found


def _normalizer(checkpoint: Checkpoint, characters: bytes) -> Any:
    """What happens to texts before they are split, as tokenizer_config.json says.

    Args:
        checkpoint: The checkpoint.
        characters: SentencePiece's table of characters that it replaces.
    """
    from tokenizers import normalizers

    config = read_table(checkpoint.path / CONFIG) if has(checkpoint, CONFIG) else {}
    found: list[Any] = [normalizers.Replace(quotes, '"') for quotes in ("``", "''")]
    if config.get("keep_accents") is not True:
        found += [normalizers.NFKD(), normalizers.StripAccents()]
    if config.get("do_lower_case") is True:
        found.append(normalizers.Lowercase())
    if characters:
        found.append(normalizers.Precompiled(characters))
    return normalizers.Sequence(found)


def _joins_comma(piece: str) -> bool:
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()
