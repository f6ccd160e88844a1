"""Terms of a glossary: translations that lack one are searched again."""

import dataclasses
from collections.abc import Callable, Sequence
from operator import attrgetter

from heed.models.decoding.constraints import Requirement
from heed.models.records import record
from heed.models.tasks.translation.aligner import Aligner
from heed.models.tasks.translation.translation import Sentence, Translation
from heed.models.text.glossary import Glossary, Occurrence, Words, appears

TURNS = 3  # searches with constraints, each without the words that displaced a term in the one before

Search = Callable[[Sequence[list[int]], list[Requirement]], list[list[Translation]]]
Score = Callable[[list[int], Sequence[str]], list[Translation]]


@record(frozen=True)
class TermSearch:
    """Searches again where a translation lacks a term.

    A term may then hang on at the end, beside another translation of its word. So that one is refused in the next
    turn, and the turn before counts where that does not help. And a search does not know which word a term translates:
    of two terms, each may come in the place of the other. So the first translation with the terms in the places of the
    words that stood for them is tried, too.
    """

    glossary: Glossary
    aligner: Aligner | None  # finds what stands in a translation for a term; None: nothing does

    def require(
        self, texts: list[str], sources: list[list[int]], results: list[list[Translation]], search: Search, score: Score
    ) -> None:
        """Replace the translations that lack a term, and mark those that still do.

        Args:
            texts: The sources.
            sources: Their tokens.
            results: The translations of each, best first.
            search: Finds the best translations of sources that meet a requirement for each.
            score: Makes translations of a source of given texts, but for those that are too long.
        """
        terms = [self.glossary.occurrences(text) for text in texts]
        first = {i: best for i, best in enumerate(results) if any(_missing(terms[i], each) for each in best)}
        refused = {i: self._displaced(texts[i], best, terms[i]) for i, best in first.items()}
        for turn in range(TURNS if first else 0):
            requirements = [self.glossary.requirement(_translations(terms[i]), tokens) for i, tokens in refused.items()]
            found = dict(zip(refused, search([sources[i] for i in refused], requirements), strict=True))
            for i, best in found.items():
                if turn == 0 or not _missing(terms[i], best[0]):
                    results[i] = best
            more = {i: self._displaced(texts[i], best, terms[i]) - refused[i] for i, best in found.items()}
            refused = {i: refused[i] | tokens for i, tokens in more.items() if tokens}
            if not refused:
                break
        for i, best in first.items():
            substituted = self._substituted(texts[i], sources[i], best, terms[i], score)
            if substituted and not self._is_better(results[i][0], substituted[0], texts[i], terms[i]):
                results[i] = [*substituted, *(each for each in results[i] if each.score <= substituted[-1].score)]
                results[i] = results[i][: len(best)]
            results[i] = [dataclasses.replace(each, missing=_missing(terms[i], each)) for each in results[i]]

    def _substituted(
        self, text: str, source: list[int], best: list[Translation], terms: Sequence[Occurrence], score: Score
    ) -> list[Translation]:
        """Translations with the terms in the places of the words that stand for them, as far as these are sure."""
        found = list[Translation]()
        for each in best:
            shares = self.aligner.shares(text, each.text) if self.aligner else None
            texts = [] if shares is None else self.glossary.substituted(each.text, shares, terms)
            found += sorted(score(source, texts), key=attrgetter("log_prob"))[-1:]
        return sorted(found, key=attrgetter("score"), reverse=True)

    def _is_better(
        self, searched: Translation, substituted: Translation, text: str, terms: Sequence[Occurrence]
    ) -> bool:
        """Whether a search has found a likelier translation, in which each term stands for its own word."""
        if searched.log_prob < substituted.log_prob:
            return False
        shares = self.aligner.shares(text, searched.text) if self.aligner else None
        return shares is not None and self.glossary.in_place(searched.text, shares, terms)

    def _displaced(self, text: str, best: list[Translation], terms: Sequence[Occurrence]) -> set[int]:
        """The tokens of words that stand in a translation in place of a term."""
        shares = self.aligner.shares(text, best[0].text) if self.aligner else None
        return set() if shares is None else self.glossary.displaced(best[0].text, shares, terms)

    def mark_parted(self, line: str, sentences: list[Sentence], best: list[Translation]) -> list[Translation]:
        """Mark missing terms whose words are spread over several sentences of a line."""
        whole = {term for sentence in sentences for term in self.glossary.find(sentence.text)}
        parted = [term for term in self.glossary.occurrences(line) if term.translations not in whole]
        return [dataclasses.replace(each, missing=each.missing + _missing(parted, each)) for each in best]


def _translations(terms: Sequence[Occurrence]) -> list[Words]:
    """The translations of terms, each once."""
    return list(dict.fromkeys(each.translations for each in terms))


def _missing(terms: Sequence[Occurrence], translation: Translation) -> tuple[Words, ...]:
    """The terms that a translation lacks."""
    return tuple(each for each in _translations(terms) if not appears(each, translation.text))
