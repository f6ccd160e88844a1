"""Tokenizers of the library `tokenizers`: byte-level byte-pair encoding and others, which are one .json file."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.tokenizers.conventional import ConventionalTokenizer
from heed.models.tokenizers.files import FILE

if TYPE_CHECKING:
    import tokenizers

SPACES = {"\u2581": "\u2581", "\u0120": "\u2581"}  # how tokens write a space: SentencePiece's and byte-level ones


def byte_characters() -> dict[str, int]:
    """The character by which GPT-2 writes each byte: the printable ones as they are, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def load_library(data: bytes, name: str) -> "tokenizers.Tokenizer":
    """A tokenizer of the library.

    Raises:
        ModelError: The library is not installed, or the bytes are no tokenizer of it.
    """
    try:
        import tokenizers  # an extra
    except ImportError:
        raise ModelError(f"{name}: needs the library tokenizers: pip install 'heed[tokenizers]'") from None
    try:
        found = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise ModelError(f"{name}: no tokenizer ({error}); get it again") from None
    found.no_padding()
    found.no_truncation()
    return found


class LibraryTokenizer(ConventionalTokenizer):
    """A tokenizer of lines or of texts.

    Args:
        data: The .json file.
        conventions: The special tokens.
        n_tokens: Rows that the network has for tokens (V); the last ones may be no token.
        name: What error messages call it.

    Raises:
        ModelError: See `load_library`.
    """

    def __init__(self, data: bytes, conventions: Conventions, n_tokens: int, name: str) -> None:
        super().__init__(conventions, data)
        self._library, self._n_tokens = load_library(data, name), n_tokens
        self.unk_id = -1  # every byte has a token
        self._added = dict(self._library.get_added_tokens_decoder())
        self._of_bytes = byte_characters() if b'"ByteLevel"' in data else None
        self._marks_continuation = b'"WordPiece"' in data

    @classmethod
    def load(cls, directory: Path, conventions: Conventions, n_tokens: int) -> Self:
        """Read the tokenizer of a bundle."""
        path = directory / FILE
        return cls(path.read_bytes(), conventions, n_tokens, str(path))

    def __len__(self) -> int:
        """The number of rows for tokens (V)."""
        return self._n_tokens

    def piece(self, token_id: int) -> str:
        """The text of a token, with "▁" for the space before it."""
        text = self.token_bytes([token_id]).decode("utf-8", "replace")
        if self._marks_continuation:
            return text.removeprefix("##") if not re.match(r"\w", text) else f"\u2581{text}"
        return "\u2581" + text[1:] if text.startswith(" ") else text

    def name_of(self, token_id: int | None) -> str:
        """How texts write a special token; nothing for None."""
        return "" if token_id is None else self._library.id_to_token(token_id) or ""

    @cached_property
    def blank(self) -> tuple[int, ...]:
        """The tokens that are nothing but spaces."""
        return tuple(number for number in range(self._n_tokens) if self.token_bytes([number]).strip(b" ") == b"")

    @cached_property
    def begins_word(self) -> npt.NDArray[np.bool_]:
        """Which tokens continue no word, (V,)."""
        return np.array([not re.match(r"\w", self.piece(number)) for number in range(self._n_tokens)])

    @cached_property
    def is_lacking(self) -> npt.NDArray[np.bool_]:
        """Which tokens stand for what the vocabulary lacks: none, (V,)."""
        return np.zeros(self._n_tokens, dtype=np.bool_)

    def encode_all(self, texts: Sequence[str], threads: int = -1) -> list[list[int]]:  # noqa: ARG002 - it decides
        """The token ids of texts, without special ones at their ends."""
        return [found.ids for found in self._library.encode_batch_fast(list(texts), add_special_tokens=False)]

    def token_bytes(self, ids: Iterable[int]) -> bytes:
        """What token ids stand for; special ones stand for nothing."""
        return b"".join(self._bytes(number) for number in ids)

    def _bytes(self, token_id: int) -> bytes:
        added = self._added.get(token_id)
        if added is not None:
            return b"" if added.special else added.content.encode()
        token = self._library.id_to_token(token_id) or ""
        if self._of_bytes is not None:
            return bytes(self._of_bytes[character] for character in token if character in self._of_bytes)
        if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace("\u2581", " ").encode()


class LibraryLines(LibraryTokenizer):
    """For lines, which are translated."""

    def encode(self, lines: Sequence[str], threads: int = -1) -> list[list[int]]:
        """The token ids of each line, with what sources begin with; none for a line of white space."""
        texts = list(lines)
        return self._framed(texts, self.encode_all([self._prefixed(text) for text in texts], threads))

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The token ids of a text, and where in it the characters of each are; special tokens are at its beginning."""
        found, before = self._library.encode(text, add_special_tokens=False), list(self._conventions.before)
        return before + found.ids, [(0, 0)] * len(before) + list(found.offsets)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of token ids."""
        return [self.token_bytes(row).decode("utf-8", "replace").strip() for row in ids]


class LibraryTexts(LibraryTokenizer):
    """For texts, which are continued."""

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special ones at its ends."""
        return self.encode_all([text])[0]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; incomplete characters become U+FFFD."""
        return self.token_bytes(ids).decode("utf-8", "replace")
