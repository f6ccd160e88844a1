"""Drafts: the next tokens of a text, guessed from an earlier place in it.

Where a text repeats itself, as answers that quote, edit or summarize their prompt do, what followed the last tokens
before follows them again. A network checks several guesses in one pass, which takes little longer than one token (Yang
et al., 2023, "Inference with Reference", arXiv 2304.04487; Saxena, 2023, "Prompt Lookup Decoding").
"""

from collections.abc import Sequence

N = 3  # tokens that must have occurred before
FIRST, MOST = 4, 8  # tokens of a draft: at first, and at most


class Drafts:
    """Guesses the next tokens of one text."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # the place after the last occurrence of each n-gram
        self._n_read, self._size = N, FIRST

    def next(self, tokens: Sequence[int], limit: int) -> list[int]:
        """Guess what follows.

        Args:
            tokens: The text: what it was at the last call, and more.
            limit: Maximum number of tokens.

        Returns:
            Token ids; none if the last tokens have not occurred before.
        """
        for place in range(self._n_read, len(tokens)):
            self._after[tuple(tokens[place - N : place])] = place
        self._n_read = max(N, len(tokens))
        place = self._after.get(tuple(tokens[-N:]), len(tokens))
        return list(tokens[place : place + min(self._size, limit)])

    def judge(self, n: int, n_right: int) -> None:
        """Learn how many tokens of a draft of n were right: after a right one drafts are longer, else shorter."""
        if n:
            self._size = min(MOST, 2 * self._size) if n_right == n else max(1, n_right)
