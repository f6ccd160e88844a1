"""Translations of sentences, and of a line of them."""

import dataclasses
import heapq
import math
import unicodedata
from collections.abc import Mapping
from itertools import accumulate
from operator import itemgetter
from typing import Any


@dataclasses.dataclass(frozen=True)
class Translation:
    """A line's translation; of several sentences, the figures are sums."""

    text: str
    tokens: list[int]  # the target's token ids, without special ones
    log_prob: float  # of the tokens and their end, in nats; with a shortlist, among the tokens of the line's
    score: float  # log_prob over the length penalty; what the search ranks by
    apart: bool = False  # what is between its placeholders was translated piece by piece; see `Keeper`
    looped: bool = False  # a phrase comes again and again, or there is no end before the length limit
    copied: tuple[str, ...] = ()  # characters that the model does not know, and that stayed as they were
    shown: Mapping[int, str] = dataclasses.field(default_factory=dict)  # in the place of tokens, by their number
    repaired: tuple[str, ...] = ()  # what a second search was required to put out, see `Repair`
    lost: tuple[str, ...] = ()  # what of its source it should have, and has not
    missing: tuple[tuple[str, ...], ...] = ()  # terms of which the text has none of the translations

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of its tokens and their end, from 0 to 1."""
        return math.exp(min(0.0, self.log_prob) / (len(self.tokens) + 1))


@dataclasses.dataclass(frozen=True)
class Sentence:
    """What is translated at once: a sentence, or a part of one that is too long."""

    text: str
    tokens: list[int]  # none where there is nothing to translate: the text stays then
    before: str  # white space
    after: str

    def unchanged(self) -> Translation:
        """What it becomes where there is nothing to translate."""
        return Translation(self.text, [], 0.0, 0.0)


def combine(sentences: list[tuple[Sentence, list[Translation]]], n: int) -> list[Translation]:
    """The `n` best ways to put the translations of a line's sentences together, best first."""
    if len(sentences) == 1:  # as most lines, which need no search
        ((sentence, choices),) = sentences
        around = (sentence.before, sentence.after)
        return [dataclasses.replace(each, text=each.text.join(around)) for each in choices[:n]]
    # Each is a chain of choices, the last one first: lines may have thousands of sentences.
    best: list[tuple[float, tuple[Any, ...]]] = [(0.0, ())]
    for _, choices in sentences:
        longer = ((score + choice.score, (chain, choice)) for score, chain in best for choice in choices)
        best = heapq.nlargest(n, longer, key=itemgetter(0))
    found = []
    for score, chain in best:
        chosen = _choices(chain)
        found.append(
            Translation(
                text=_join([sentence for sentence, _ in sentences], [choice.text for choice in chosen]),
                tokens=[token for choice in chosen for token in choice.tokens],
                log_prob=sum((choice.log_prob for choice in chosen), 0.0),
                score=score,
                apart=any(choice.apart for choice in chosen),
                looped=any(choice.looped for choice in chosen),
                copied=tuple(each for choice in chosen for each in choice.copied),
                shown=_shown(chosen),
                repaired=tuple(text for choice in chosen for text in choice.repaired),
                lost=tuple(text for choice in chosen for text in choice.lost),
                missing=tuple(term for choice in chosen for term in choice.missing),
            )
        )
    return found


def _shown(chosen: list[Translation]) -> dict[int, str]:
    starts = accumulate((len(choice.tokens) for choice in chosen), initial=0)
    return {
        start + number: text
        for start, choice in zip(starts, chosen, strict=False)
        for number, text in choice.shown.items()
    }


def _choices(chain: tuple[Any, ...]) -> list[Translation]:
    chosen: list[Translation] = []
    while chain:
        chain, choice = chain
        chosen.append(choice)
    return chosen[::-1]


def _join(sentences: list[Sentence], texts: list[str]) -> str:
    """The texts of a line's sentences with the white space that was around them."""
    parts = []
    for sentence, text in zip(sentences, texts, strict=True):
        parts += [sentence.before, text, sentence.after or _gap(text)]
    if sentences and not sentences[-1].after:
        parts.pop()
    return "".join(parts)


def _gap(text: str) -> str:
    """What comes between sentences where there was nothing: a space, but after a wide sign as of Chinese."""
    return "" if not text or unicodedata.east_asian_width(text[-1]) in "WF" else " "
