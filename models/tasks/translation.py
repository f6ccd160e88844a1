"""Translations of sentences and of lines."""

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
    """The translation of a line; figures of several sentences are sums."""

    text: str
    tokens: list[int]  # target token ids, without special ones
    log_prob: float  # of the tokens and the end token, in nats; with a shortlist, relative to the line's shortlist
    score: float  # log_prob divided by the length penalty, by which the search ranks
    apart: bool = False  # the text between placeholders was translated piece by piece; see `Keeper`
    looped: bool = False  # a phrase repeats in a loop, or the output did not end before the length limit
    copied: tuple[str, ...] = ()  # characters that the model does not know, and that stayed as they were
    shown: Mapping[int, str] = dataclasses.field(default_factory=dict)  # in the place of tokens, by their number
    repaired: tuple[str, ...] = ()  # what a second search was required to produce; see `Repair`
    lost: tuple[str, ...] = ()  # what the text should have of its source, and lacks
    missing: tuple[tuple[str, ...], ...] = ()  # terms without any of their translations in the text

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of its tokens and their end, from 0 to 1."""
        return math.exp(min(0.0, self.log_prob) / (len(self.tokens) + 1))


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A unit of translation: a sentence, or a part of one that is too long."""

    text: str
    tokens: list[int]  # empty if there is nothing to translate; the text is then copied
    before: str  # white space
    after: str

    def unchanged(self) -> Translation:
        """The translation if there is nothing to translate."""
        return Translation(self.text, [], 0.0, 0.0)


def combine(sentences: list[tuple[Sentence, list[Translation]]], n: int) -> list[Translation]:
    """The `n` best combinations of the translations of a line's sentences, best first."""
    if len(sentences) == 1:  # the usual case, which needs no search
        ((sentence, choices),) = sentences
        around = (sentence.before, sentence.after)
        return [dataclasses.replace(each, text=each.text.join(around)) for each in choices[:n]]
    # Each is a linked list of choices, the last one first, because lines may have thousands of sentences.
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
    """The texts of a line's sentences with their original white space."""
    parts = []
    for sentence, text in zip(sentences, texts, strict=True):
        parts += [sentence.before, text, sentence.after or _gap(text)]
    if sentences and not sentences[-1].after:
        parts.pop()
    return "".join(parts)


def _gap(text: str) -> str:
    """The separator of sentences that had none: a space, except after a wide character such as Chinese."""
    return "" if not text or unicodedata.east_asian_width(text[-1]) in "WF" else " "
