"""Translations of sentences and of lines."""

import dataclasses
import heapq
import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from heed.models.records import record
from heed.models.text.words import Span

Link = tuple[Span, Span]  # a word of a source and a word of its translation, as characters


@record(frozen=True)
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
    links: tuple[Link, ...] = ()  # words that translate each other, where that was asked for

    def word_pairs(self, source: str) -> list[tuple[int, int]]:
        """The links as numbers, from 0, of the words that white space separates in a source and in the text."""
        return word_pairs(source, self.text, self.links)

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of its tokens and their end, from 0 to 1."""
        return math.exp(min(0.0, self.log_prob) / (len(self.tokens) + 1))


def word_pairs(source: str, text: str, links: Sequence[Link]) -> list[tuple[int, int]]:
    """Links as numbers, from 0, of the words that white space separates in a source and in its translation."""
    src, tgt = ([match.start() for match in re.finditer(r"\S+", each)] for each in (source, text))
    return sorted({(bisect_right(src, a) - 1, bisect_right(tgt, b) - 1) for (a, _), (b, _) in links})


class Sentence(NamedTuple):
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
        if not (sentence.before or sentence.after):
            return choices[:n]
        around = (sentence.before, sentence.after)
        before = len(sentence.before)
        return [
            dataclasses.replace(each, text=each.text.join(around), links=_moved(each.links, before, before))
            for each in choices[:n]
        ]
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
                links=_joined_links([sentence for sentence, _ in sentences], chosen),
            )
        )
    return found


def _joined_links(sentences: list[Sentence], chosen: list[Translation]) -> tuple[Link, ...]:
    """The links of sentences, in the characters of their line and of its translation; see `_join`."""
    found, src, tgt = list[Link](), 0, 0
    for sentence, choice in zip(sentences, chosen, strict=True):
        src, tgt = src + len(sentence.before), tgt + len(sentence.before)
        found += _moved(choice.links, src, tgt)
        src += len(sentence.text) + len(sentence.after)
        tgt += len(choice.text) + len(sentence.after or _gap(choice.text))
    return tuple(found)


def _moved(links: tuple[Link, ...], src: int, tgt: int) -> tuple[Link, ...]:
    """Links that begin so many characters later on either side."""
    return tuple(((a + src, b + src), (c + tgt, d + tgt)) for (a, b), (c, d) in links)


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
