"""What the training of the default model begins with: the model of 0.1, with a vocabulary that copies.

That model's pieces keep their numbers and what was learnt of them, so it translates as before. Pieces of several
digits, or of a digit with the space before it, are retired: numbers are read digit by digit. New are 256 pieces for
the bytes of characters that have none, and the characters that the new text has and Tatoeba had not.
"""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from sentencepiece import sentencepiece_model_pb2

from heed.export.importers.bundle import from_bundle
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.training.runs.warm_start import InitialNetwork

SEEN = 10  # times that a character must stand in the text to get a piece of its own
SEED = 2017


def first_weights(bundle: Path, lines: Iterable[str], tokenizer: Path) -> InitialNetwork:
    """The weights of a bundle with embeddings for more pieces; the new vocabulary is written to a file."""
    initial = from_bundle(bundle)
    tokenizer.write_bytes(extended(Path(initial.tokenizer[0]).read_bytes(), lines))
    weights = dict(initial.weights)
    embedding = weights["src_embedding.weight"]
    n_new, d_model = len(Tokenizer.load(tokenizer)) - len(embedding), embedding.shape[1]
    drawn = torch.randn(n_new, d_model, generator=torch.Generator().manual_seed(SEED)) * d_model**-0.5
    weights["src_embedding.weight"] = torch.cat([embedding, drawn])
    return dataclasses.replace(initial, weights=weights, tokenizer=(str(tokenizer.absolute()),), shortlist=None)


def extended(model: bytes, lines: Iterable[str]) -> bytes:
    """A SentencePiece model with single digits, bytes, and a piece for each character that is seen often enough."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model)
    kind = sentencepiece_model_pb2.ModelProto.SentencePiece  # type: ignore[attr-defined]
    known = {piece.piece for piece in proto.pieces}
    for piece in proto.pieces:
        if piece.type == kind.NORMAL and len(piece.piece) > 1 and any(map(str.isdigit, piece.piece)):
            piece.type = kind.UNUSED
    last = min(piece.score for piece in proto.pieces)
    for number, character in enumerate(new_characters(lines, known), 1):
        proto.pieces.add(piece=character, score=last - number, type=kind.NORMAL)
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=kind.BYTE)
    proto.trainer_spec.byte_fallback = proto.trainer_spec.split_digits = True
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return bytes(proto.SerializeToString())


def new_characters(lines: Iterable[str], known: set[str]) -> list[str]:
    seen = Counter(character for line in lines for character in line)
    return sorted(
        character
        for character, n in seen.items()
        if n >= SEEN
        and character not in known
        and not character.isspace()
        and unicodedata.normalize("NFKC", character) == character
    )
