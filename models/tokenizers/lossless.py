"""Any text to token ids and back, byte for byte, by a SentencePiece model with byte fallback."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.tokenizers.subwords import JOINT, Tokenizer

SPACE = "\u2581"  # how SentencePiece writes a space; a text that holds the character itself gets it in bytes
SPACE_BYTES = (b"\xe2", b"\x96", b"\x81")
PROBE = " a\n\t \u2581\u00bd\ufb01\U0001f600\x00\r\n"


class TextTokenizer:
    """A tokenizer whose tokens, put together, are the text.

    Args:
        pieces: Its SentencePiece model.
        name: What error messages call it.

    Raises:
        ModelError: The model changes texts: it has no bytes for unknown characters, or normalizes.
    """

    starts_texts = True  # with bos_id

    def __init__(self, pieces: Tokenizer, name: str) -> None:
        self.pieces = pieces
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = pieces.pad_id, pieces.unk_id, pieces.bos_id, pieces.eos_id
        self.ends, self.forced, self.suppressed = pieces.ends, pieces.forced, pieces.suppressed
        self._bytes = [_bytes(pieces, token) for token in range(len(pieces))]
        self._space = [self._bytes.index(byte) for byte in SPACE_BYTES if byte in self._bytes]
        if self.decode(self.encode(PROBE)) != PROBE:
            raise ModelError(
                f"{name}: does not give every text back; train it with --byte_fallback, "
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

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special ones.

        Raises:
            DataError: It has half a surrogate pair, which is no character.
        """
        (ids,) = self.encode_all([text])
        return ids

    def encode_all(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """The token ids of texts.

        Args:
            texts: They.
            threads: Of the processor.

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
        """The text of token ids; bytes that are no whole character become U+FFFD."""
        return self.token_bytes(ids).decode("utf-8", "replace")

    def token_bytes(self, ids: Iterable[int]) -> bytes:
        """What token ids stand for."""
        return b"".join(self._bytes[token] for token in ids)


def _bytes(pieces: Tokenizer, token: int) -> bytes:
    """What a token stands for; special ones stand for nothing."""
    if token in (pieces.pad_id, pieces.unk_id, pieces.bos_id, pieces.eos_id):
        return b""
    piece = pieces.piece(token)
    return bytes([int(piece[1:-1], 16)]) if pieces.is_byte(token) else piece.replace(SPACE, " ").encode()
