"""SentencePiece whose pieces have other ids in the network: Marian's, M2M100's, mBART's and T5's tokenizers."""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from heed.models.errors import ModelError
from heed.models.patterns import regex
from heed.models.spec.conventions import Conventions
from heed.models.tokenizers.conventional import ConventionalTokenizer
from heed.models.tokenizers.protocol import BYTE_PIECES

SPACE = "\u2581"
MARIAN_TAG = regex(r">>.+<<")  # names the target language at the beginning of a text


class MappedTokenizer(ConventionalTokenizer):
    """A tokenizer of lines by a SentencePiece model and a list of pieces.

    Args:
        model: The serialized SentencePiece model.
        pieces: The piece of each token id; those that the model does not have are special.
        conventions: The special tokens.
        name: What error messages call it.

    Raises:
        ModelError: The bytes are no such model.
    """

    def __init__(self, model: bytes, pieces: Sequence[str], conventions: Conventions, name: str) -> None:
        super().__init__(conventions, model, json.dumps(list(pieces)).encode())
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(model)
        except RuntimeError:
            raise ModelError(f"{name}: this is no SentencePiece model; get it again") from None
        self._list = list(pieces)
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self.unk_id = self._ids.get("<unk>", -1)
        self._special = {number for number, piece in enumerate(pieces) if re.fullmatch(r"<.*>|__\w+__", piece)}
        self._special |= set((conventions.languages or {}).values()) | set(conventions.suppressed)
        self._special |= {*conventions.ends, *conventions.before, *conventions.forced}

    def __len__(self) -> int:
        """The number of tokens (V)."""
        return len(self._list)

    def piece(self, token_id: int) -> str:
        """The text of a token, with "▁" for the space before it."""
        return self._list[token_id]

    @cached_property
    def blank(self) -> tuple[int, ...]:
        """The tokens that are nothing but spaces."""
        return tuple(number for number, piece in enumerate(self._list) if piece and not piece.strip(SPACE))

    @cached_property
    def begins_word(self) -> npt.NDArray[np.bool_]:
        """Which tokens continue no word, (V,)."""
        return np.array([not re.match(r"\w", piece) for piece in self._list])

    @cached_property
    def is_lacking(self) -> npt.NDArray[np.bool_]:
        """Which tokens stand for what the vocabulary lacks: the unknown token, and those of bytes, (V,)."""
        found = np.zeros(len(self), dtype=bool)
        found[[self._ids[piece] for piece in ("<unk>", *BYTE_PIECES) if piece in self._ids]] = True
        return found

    def encode(self, lines: Sequence[str], threads: int = -1) -> list[list[int]]:
        """The token ids of each line, with what sources begin with; none for a line of white space."""
        texts = list(lines)
        tags = [found.group() if (found := MARIAN_TAG.match(text)) else "" for text in texts]
        rest = [self._prefixed(text[len(tag) :]) for text, tag in zip(texts, tags, strict=True)]
        encoded = self.encode_all(rest, threads)
        ids = [self._of([tag] if tag else []) + row for tag, row in zip(tags, encoded, strict=True)]
        return self._framed(texts, ids)

    def encode_all(self, texts: Sequence[str], threads: int = -1) -> list[list[int]]:
        """The token ids of texts, without special ones."""
        pieces: list[list[str]] = self._model.encode(list(texts), out_type=str, num_threads=threads)
        return [self._of(row) for row in pieces]

    def _of(self, pieces: list[str]) -> list[int]:
        return [self._ids.get(piece, self.unk_id) for piece in pieces]

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The token ids of a text, and where in it the characters of each are; special tokens are at its beginning."""
        prefix = self._conventions.prefix or ""
        found = self._model.encode(prefix + text, return_type="proto").pieces
        characters = [number for number, character in enumerate(prefix + text) for _ in character.encode()]
        characters = [max(0, number - len(prefix)) for number in [*characters, len(prefix) + len(text)]]
        before = list(self._conventions.before)
        spans = [(characters[piece.begin], characters[piece.end]) for piece in found]
        return before + self._of([piece.piece for piece in found]), [(0, 0)] * len(before) + spans

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of token ids."""
        rows = [[self._list[number] for number in row if number not in self._special] for row in ids]
        return [str(self._model.decode_pieces(row)).replace(SPACE, " ").strip() for row in rows]


def read_vocabulary(path: Path) -> list[str]:
    """The pieces of a vocabulary's file, by their ids.

    Raises:
        ModelError: It is damaged.
    """
    try:
        pieces = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged ({error}); get the model again") from None
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
        raise ModelError(f"{path}: damaged (no list of pieces); get the model again")
    return pieces
