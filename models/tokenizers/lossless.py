"""Lossless tokenizer: any text to token ids and back, byte for byte, with SentencePiece's byte fallback."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.tokenizers.files import JOINT
from heed.models.tokenizers.subwords import Tokenizer

SPACE = "\u2581"  # SentencePiece's space; the character itself in a text is encoded as bytes
SPACE_BYTES = (b"\xe2", b"\x96", b"\x81")
MASK = "<mask>"  # the piece of a vocabulary for a masked language model; never part of a text
PROBE = " a\n\t \u2581\u00bd\ufb01\U0001f600\x00\r\n"


class TextTokenizer:
    """A tokenizer whose tokens, concatenated, are the text.

    Args:
        pieces: The SentencePiece model.
        name: Its name in error messages.

    Raises:
        ModelError: The model changes texts: it has no byte fallback, or normalizes.
    """

    starts_texts = True  # with bos_id

    def __init__(self, pieces: Tokenizer, name: str) -> None:
        self.pieces = pieces
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = pieces.pad_id, pieces.unk_id, pieces.bos_id, pieces.eos_id
        self.ends, self.forced, self.suppressed = pieces.ends, pieces.forced, pieces.suppressed
        self.mask_id = pieces.control_id(MASK)
        self.digest = pieces.digest
        self._bytes = [_bytes(pieces, token) for token in range(len(pieces))]
        self._space = [self._bytes.index(byte) for byte in SPACE_BYTES if byte in self._bytes]
        if self.decode(self.encode(PROBE)) != PROBE:
            raise ModelError(
                f"{name}: does not preserve every text; train it with --byte_fallback, "
                "--normalization_rule_name=identity, --remove_extra_whitespaces=false and --add_dummy_prefix=false"
            )

    @classmethod
    def load(cls, directory: Path) -> "TextTokenizer":
        """Read the tokenizer of a run or a bundle.

        Raises:
            ModelError: It is missing or damaged.
        """
        path = directory / JOINT
        try:
            return cls(Tokenizer.load(path), str(path))
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}; restore it, or make the model again") from None

    def __len__(self) -> int:
        """The number of pieces (V)."""
        return len(self.pieces)

    def piece(self, token_id: int) -> str:
        """The text of a token, with "▁" for the space before it."""
        return self.pieces.piece(token_id)

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special ones.

        Raises:
            DataError: It has a lone surrogate, which is not a character.
        """
        (ids,) = self.encode_all([text])
        return ids

    def encode_all(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """The token ids of texts, encoded by this many threads.

        Raises:
            DataError: See `encode`.
        """
        parts = [text.split(SPACE) for text in texts]
        encoded = iter(self.pieces.encode([part for each in parts for part in each], threads))
        found = []
        for each in parts:
            ids = next(encoded)
            for part in itertools.islice(encoded, len(each) - 1):
                ids += [*self._space, *part]
            found.append(ids)
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; incomplete characters become U+FFFD."""
        return self.token_bytes(ids).decode("utf-8", "replace")

    def token_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of token ids."""
        return b"".join(self._bytes[token] for token in ids)


def _bytes(pieces: Tokenizer, token: int) -> bytes:
    """The bytes of a token; none for a special one."""
    if token in (pieces.pad_id, pieces.unk_id, pieces.bos_id, pieces.eos_id) or pieces.is_control(token):
        return b""
    piece = pieces.piece(token)
    return bytes([int(piece[1:-1], 16)]) if pieces.is_byte(token) else piece.replace(SPACE, " ").encode()
