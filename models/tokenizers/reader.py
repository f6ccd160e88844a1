"""What an encoder alone reads: the tokens of a text between special ones, with masks."""

from collections.abc import Sequence
from typing import Protocol

from heed.models.errors import ModelError


class Pieces(Protocol):
    """A tokenizer of the texts between masks."""

    def __len__(self) -> int:
        """The number of tokens (V)."""
        ...

    def piece(self, token_id: int) -> str:
        """The text of a token, with "▁" for the space before it."""
        ...

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts, without special ones."""
        ...


class Reader:
    """Reads texts for an encoder.

    Args:
        pieces: The tokenizer.
        before: Tokens that every text begins with.
        ends: Tokens that every text ends with.
        mask_id: The mask; None: the model has none.
        mask: How texts write it.
    """

    def __init__(
        self,
        pieces: Pieces,
        *,
        before: tuple[int, ...],
        ends: tuple[int, ...],
        mask_id: int | None,
        mask: str = "<mask>",
    ) -> None:
        self._pieces, self._before, self._ends = pieces, list(before), list(ends)
        self.mask_id, self.mask = mask_id, mask

    def __len__(self) -> int:
        """The number of tokens (V)."""
        return len(self._pieces)

    def piece(self, token_id: int) -> str:
        """The text of a token, with "▁" for the space before it."""
        return self._pieces.piece(token_id)

    def parts(self, text: str) -> list[str]:
        """The parts of a text between its masks; a mask takes the spaces before it, as pieces of words do."""
        if self.mask_id is None:
            return [text]
        *others, last = text.split(self.mask)
        return [*(part.rstrip() for part in others), last]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text with the special ones."""
        parts = [self.parts(text) for text in texts]
        encoded = iter(self._pieces.encode_all([part for row in parts for part in row]))
        return [self._framed([next(encoded) for _ in row]) for row in parts]

    def _framed(self, parts: list[list[int]]) -> list[int]:
        ids = list(parts[0])
        for part in parts[1:]:
            assert self.mask_id is not None, "a text was split at masks"
            ids += [self.mask_id, *part]
        return [*self._before, *ids, *self._ends]

    def cut(self, row: list[int], longest: int) -> list[int]:
        """The token ids of a text, at most so many, with the special ones at its ends."""
        n_ends = len(self._ends)
        return row if len(row) <= longest else [*row[: max(longest - n_ends, 0)], *row[-n_ends:]]

    def require_mask(self, name: str) -> int:
        """The mask.

        Raises:
            ModelError: The model has none.
        """
        if self.mask_id is None:
            raise ModelError(f"{name}: this model has no mask, so it fills none; use heed embed")
        return self.mask_id
