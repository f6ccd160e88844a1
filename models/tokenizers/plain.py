"""SentencePiece as Llama 2 uses it: texts as they are, with a space before and bytes for unknown characters."""

from collections.abc import Iterable, Sequence

import sentencepiece

from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.tokenizers.conventional import ConventionalTokenizer


class SentencePieceTexts(ConventionalTokenizer):
    """A tokenizer of texts, which are continued.

    Args:
        model: The serialized SentencePiece model.
        conventions: The special tokens.
        n_tokens: Rows that the network has for tokens (V); the last ones may be no token.
        name: What error messages call it.

    Raises:
        ModelError: The bytes are no such model.
    """

    def __init__(self, model: bytes, conventions: Conventions, n_tokens: int, name: str) -> None:
        super().__init__(conventions, model)
        self._model, self._n_tokens = sentencepiece.SentencePieceProcessor(), n_tokens
        try:
            self._model.LoadFromSerializedProto(model)
        except RuntimeError:
            raise ModelError(f"{name}: this is no SentencePiece model; get it again") from None

    def __len__(self) -> int:
        """The number of rows for tokens (V)."""
        return self._n_tokens

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special ones at its ends."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str], threads: int = -1) -> list[list[int]]:
        """The token ids of texts."""
        ids: list[list[int]] = self._model.encode(list(texts), out_type=int, num_threads=threads)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; incomplete characters become U+FFFD."""
        return self.token_bytes(ids).decode("utf-8", "replace")

    def token_bytes(self, ids: Iterable[int]) -> bytes:
        """What token ids stand for; special ones stand for nothing."""
        return b"".join(self._bytes(number) for number in ids)

    def _bytes(self, token_id: int) -> bytes:
        model = self._model
        if token_id >= model.get_piece_size() or model.is_control(token_id) or model.is_unknown(token_id):
            return b""
        piece = str(model.id_to_piece(token_id))
        return bytes([int(piece[3:5], 16)]) if model.is_byte(token_id) else piece.replace("\u2581", " ").encode()
