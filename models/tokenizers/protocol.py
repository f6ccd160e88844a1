"""What a tokenizer is to those who translate, and to those who continue texts."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))  # as SentencePiece names them


class Special(Protocol):
    """Token ids that mean something."""

    @property
    def pad_id(self) -> int:
        """Fills shorter rows of a batch."""
        ...

    @property
    def bos_id(self) -> int:
        """Begins outputs."""
        ...

    @property
    def eos_id(self) -> int:
        """Ends sources and outputs."""
        ...

    @property
    def ends(self) -> tuple[int, ...]:
        """Any of these ends an output; `eos_id` is one of them."""
        ...

    @property
    def forced(self) -> tuple[int, ...]:
        """What each output begins with after `bos_id`."""
        ...

    @property
    def suppressed(self) -> tuple[int, ...]:
        """The tokens that no output has."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of everything that token ids depend on, hexadecimal."""
        ...

    def __len__(self) -> int:
        """The number of tokens (V)."""
        ...


class LineTokenizer(Special, Protocol):
    """A tokenizer of lines, for translation."""

    @property
    def unk_id(self) -> int:
        """Stands for what has no token; -1 where everything has."""
        ...

    @property
    def blank(self) -> tuple[int, ...]:
        """The tokens that are nothing but spaces."""
        ...

    @property
    def begins_word(self) -> npt.NDArray[np.bool_]:
        """Which tokens continue no word: those that begin with a space or a punctuation mark, (V,)."""
        ...

    @property
    def is_lacking(self) -> npt.NDArray[np.bool_]:
        """Which tokens stand for what the vocabulary lacks: the unknown token, and those of bytes, (V,)."""
        ...

    def piece(self, token_id: int) -> str:
        """The text of a token, with "▁" for the space before it."""
        ...

    def encode(self, lines: Sequence[str], threads: int = -1) -> list[list[int]]:
        """The token ids of each line without the end; none for a line of white space."""
        ...

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The token ids of a text, and the span of characters of each."""
        ...

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of token ids."""
        ...


class PlainTokenizer(Special, Protocol):
    """A tokenizer of texts, for a model that continues them."""

    @property
    def starts_texts(self) -> bool:
        """Whether every prompt begins with `bos_id`."""
        ...

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without special ones at its ends."""
        ...

    def encode_all(self, texts: Sequence[str], threads: int = -1) -> list[list[int]]:
        """The token ids of texts."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; incomplete characters become U+FFFD."""
        ...

    def token_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of token ids."""
        ...
