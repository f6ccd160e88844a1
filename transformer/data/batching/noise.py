"""Noise for denoising: text whose spans are replaced, to be restored (BART, arXiv 1910.13461; T5, arXiv 1910.10683)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from heed.models.errors import ModelError
from heed.models.tokenizers.lossless import MASK
from heed.models.tokenizers.subwords import Tokenizer

N_SENTINELS = 100  # pieces that stand for spans, as in T5
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(N_SENTINELS))
LONGEST_SPAN = 10  # tokens
# The pieces of a vocabulary that each kind of noise needs, which are never part of a text.
PIECES: Mapping[str, tuple[str, ...]] = {"infilling": (MASK,), "spans": SENTINELS}

Noised = tuple[list[int], list[int]]  # what is read, and what is to be written


@dataclasses.dataclass(frozen=True)
class Noise:
    """Draws the noise of texts.

    Args:
        kind: "infilling": each span becomes one mask, and the whole text is to be written; "spans": each span becomes a
            sentinel, and the spans are to be written, each after its sentinel.
        share: Of the tokens that are in spans.
        mean_length: Mean length of spans, in tokens.
        tokenizer: Of the texts, with the pieces that stand for spans.

    Raises:
        ModelError: The vocabulary lacks these pieces.
    """

    kind: str
    share: float
    mean_length: float
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        if any(self.tokenizer.control_id(piece) is None for piece in PIECES[self.kind]):
            raise ModelError(
                f"{self.tokenizer.name}: has no {PIECES[self.kind][0]} piece for this noise; begin with a vocabulary "
                "that was learnt for it"
            )

    def __call__(self, tokens: Sequence[int], random: np.random.Generator) -> Noised:
        """A text with spans replaced, and what is to be written."""
        return KINDS[self.kind](list(tokens), self._spans(len(tokens), random), self._marks)

    @property
    def _marks(self) -> list[int]:
        """The tokens that stand for spans."""
        found = [self.tokenizer.control_id(piece) for piece in PIECES[self.kind]]
        return [token for token in found if token is not None]

    def _spans(self, n: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """Starts and stops of spans that do not touch, in order; BART's lengths are Poisson's, here of at least 1."""
        wanted, taken = max(1, round(self.share * n)), np.zeros(n + 2, dtype=bool)
        for _ in range(4 * wanted):
            if taken.sum() >= wanted or n < 2:
                break
            length = min(1 + int(random.poisson(self.mean_length - 1)), LONGEST_SPAN, wanted - int(taken.sum()))
            start = int(random.integers(1, n - length + 2)) if length <= n else n + 1
            if not taken[max(0, start - 1) : start + length + 1].any() and start + length <= n + 1:
                taken[start : start + length] = True
        edges = np.flatnonzero(np.diff(taken.astype(np.int8)))
        found = [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
        return found[: len(self._marks)] if self.kind == "spans" else found


def _infilled(tokens: list[int], spans: list[tuple[int, int]], marks: list[int]) -> Noised:
    read, end = list[int](), 0
    for start, stop in spans:
        read += [*tokens[end:start], marks[0]]
        end = stop
    return read + tokens[end:], tokens


def _sentinels(tokens: list[int], spans: list[tuple[int, int]], marks: list[int]) -> Noised:
    read, written, end = list[int](), list[int](), 0
    for (start, stop), mark in zip(spans, marks, strict=False):
        read += [*tokens[end:start], mark]
        written += [mark, *tokens[start:stop]]
        end = stop
    return read + tokens[end:], written


KINDS: Mapping[str, Callable[[list[int], list[tuple[int, int]], list[int]], Noised]] = {
    "infilling": _infilled,
    "spans": _sentinels,
}
