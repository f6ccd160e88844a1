"""Tokenizer: text to token ids and back, with SentencePiece."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from heed.models.errors import DataError, ModelError
from heed.models.patterns import regex
from heed.models.tokenizers.files import JOINT, SEPARATE, model_files
from heed.models.tokenizers.protocol import BYTE_PIECES

SURROGATE = regex(r"[\ud800-\udfff]")

LONGEST_PIECE = 16  # characters, SentencePiece's default


class Tokenizer:
    """A SentencePiece model with padding, beginning, end and unknown pieces.

    Args:
        model: The serialized SentencePiece model.
        name: What error messages call it.

    Raises:
        ModelError: The bytes are not such a model, or a special piece is missing.
    """

    def __init__(self, model: bytes, name: str) -> None:
        self.model, self.name = model, name
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except RuntimeError:
            raise ModelError(f"{name}: not a SentencePiece model; give the .model file of spm_train") from None
        self.pad_id: int = self._pieces.pad_id()
        self.unk_id: int = self._pieces.unk_id()
        self.bos_id: int = self._pieces.bos_id()
        self.eos_id: int = self._pieces.eos_id()
        special = {"pad": self.pad_id, "bos": self.bos_id, "eos": self.eos_id}
        missing = [piece for piece, piece_id in special.items() if piece_id < 0]
        if missing:
            flags = " ".join(f"--{piece}_id=N" for piece in missing)
            raise ModelError(f"{name}: has no {' and no '.join(missing)} piece; train it again with {flags}")

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a model file.

        Raises:
            ModelError: See the class.
            OSError: The file cannot be read.
        """
        return cls(path.read_bytes(), str(path))

    def __len__(self) -> int:
        """The number of pieces (V)."""
        return int(self._pieces.get_piece_size())

    def piece(self, token_id: int) -> str:
        """The text of a piece, with "▁" for the space before it."""
        return str(self._pieces.id_to_piece(token_id))

    def is_control(self, token_id: int) -> bool:
        """Whether a piece is never part of a text."""
        return bool(self._pieces.is_control(token_id))

    def control_id(self, piece: str) -> int | None:
        """The id of a piece that is never part of a text; None: there is no such piece."""
        token_id = int(self._pieces.piece_to_id(piece))
        return token_id if self._pieces.is_control(token_id) else None

    def is_byte(self, token_id: int) -> bool:
        """Whether a piece is a byte, written as <0x0A>, of a character without a piece."""
        return bool(self._pieces.is_byte(token_id))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that token ids depend on, hexadecimal."""
        return hashlib.sha256(self.model).hexdigest()

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an output."""
        return (self.eos_id,)

    @property
    def forced(self) -> tuple[int, ...]:
        """What each output begins with after `bos_id`."""
        return ()

    @property
    def suppressed(self) -> tuple[int, ...]:
        """The tokens that no output has: padding, the beginning and the unknown piece."""
        return tuple(sorted({self.pad_id, self.bos_id, self.unk_id} - {self.eos_id}))

    @cached_property
    def blank(self) -> tuple[int, ...]:
        """The pieces that consist only of spaces, found by name, because checking all pieces is slow."""
        found = {self._pieces.piece_to_id("\u2581" * n) for n in range(1, LONGEST_PIECE + 1)}
        return tuple(sorted(found - {self.unk_id}))

    @cached_property
    def begins_word(self) -> npt.NDArray[np.bool_]:
        """Pieces that cannot continue a word: those that begin with a space or a punctuation mark, (V,)."""
        return np.array([not re.match(r"\w", self.piece(token_id)) for token_id in range(len(self))])

    def has_pieces_of(self, other: "Tokenizer") -> bool:
        """Whether the same token ids stand for the same pieces; the two may normalize text in different ways."""
        return self.model == other.model or self._all_pieces == other._all_pieces

    @cached_property
    def _all_pieces(self) -> list[str]:
        return [self.piece(token_id) for token_id in range(len(self))]

    @cached_property
    def is_lacking(self) -> npt.NDArray[np.bool_]:
        """Which pieces stand for what the vocabulary lacks: the unknown piece, and those of bytes, (V,)."""
        found = np.zeros(len(self), dtype=bool)
        found[[self.unk_id, *filter(self.is_byte, map(self._pieces.piece_to_id, BYTE_PIECES))]] = True
        return found

    def encode(self, lines: Sequence[str], threads: int = 1) -> list[list[int]]:
        """The token ids of each line, without special pieces; none for spaces.

        Args:
            lines: The text.
            threads: Of the processor. SentencePiece ends the program where the system starts none for it, so what is
                done soon needs one, which is this one.

        Raises:
            DataError: A line has half a surrogate pair, which is no character.
        """
        try:
            if threads == 1:
                return [self._pieces.encode(line, out_type=int) for line in lines]
            ids: list[list[int]] = self._pieces.encode(list(lines), out_type=int, num_threads=threads)
        except (TypeError, RuntimeError):  # for what UTF-8 has no bytes for
            if not any(SURROGATE.search(line) for line in lines):
                raise
            raise DataError("the text has half of a character (a lone surrogate); correct it") from None
        return ids

    def sample(self, lines: Sequence[str], share: float, seed: int) -> list[list[int]]:
        """The token ids of each line with random segmentation: BPE-dropout (Provilkov et al., 2020).

        A model that is not a byte-pair encoding samples from its own distribution, smoothed by `share`. The call seeds
        SentencePiece for the whole process; each thread has its own generator, and each call starts a thread.

        Args:
            lines: The text.
            share: Share of the merges to skip.
            seed: Below 2^32 - 1; the same seed gives the same tokens.
        """
        sentencepiece.set_random_generator_seed(seed)
        ids: list[list[int]] = self._pieces.encode(
            list(lines), out_type=int, num_threads=1, enable_sampling=True, alpha=share, nbest_size=-1
        )
        return ids

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The token ids of a text, and the span of characters of each."""
        pieces = self._pieces.encode(text, return_type="proto").pieces
        characters = [number for number, character in enumerate(text) for _ in character.encode()]
        characters.append(len(text))  # character index of each byte, because SentencePiece counts bytes, and of the end
        spans = [(characters[piece.begin], characters[piece.end]) for piece in pieces]
        return [piece.id for piece in pieces], spans

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of token ids."""
        return [str(self._pieces.decode(list(row))) for row in ids]


def file_contents(src: Tokenizer, tgt: Tokenizer) -> dict[str, bytes]:
    """The files of source and target tokenizers by name; one file if they are the same."""
    if src.model == tgt.model:
        return {JOINT: src.model}
    return dict(zip(SEPARATE, (src.model, tgt.model), strict=True))


def write_tokenizers(directory: Path, tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    """Write the source and target tokenizers."""
    for name, content in file_contents(*tokenizers).items():
        (directory / name).write_bytes(content)


def load_tokenizers(directory: Path) -> tuple[Tokenizer, Tokenizer]:
    """Read the source and target tokenizers.

    Raises:
        ModelError: One is missing or damaged.
    """
    try:
        found = [Tokenizer.load(directory / name) for name in model_files(directory)]
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}; restore it, or make the model again") from None
    return found[0], found[-1]
