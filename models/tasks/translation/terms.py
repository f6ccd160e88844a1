"""Terms of a glossary: translations that lack one are searched again."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from heed.models.decoding.constraints import Requirement
from heed.models.tasks.translation.aligner import Aligner
from heed.models.tasks.translation.translation import Sentence, Translation
from heed.models.text.glossary import Glossary, Words, appears

TURNS = 3  # searches with constraints, each without the words that displaced a term in the one before

Search = Callable[[Sequence[list[int]], list[Requirement]], list[list[Translation]]]


@dataclasses.dataclass(frozen=True)
class TermSearch:
    """Searches again where a translation lacks a term.

    A term may then hang on at the end, beside another translation of its word. So that one is refused in the next
    turn, and the turn before counts where that does not help.
    """

    glossary: Glossary
    aligner: Aligner | None  # finds what stands in a translation for a term; None: nothing does

    def require(
        self, texts: list[str], sources: list[list[int]], results: list[list[Translation]], search: Search
    ) -> None:
        """Replace the translations that lack a term, and mark those that still do.

        Args:
            texts: The sources.
            sources: Their tokens.
            results: The translations of each, best first.
            search: Finds the best translations of sources that meet a requirement for each.
        """
        places = [self.glossary.places(text) for text in texts]
        refused = {
            i: self._displaced(texts[i], best, places[i])
            for i, best in enumerate(results)
            if any(_missing(places[i], each) for each in best)
        }
        lacking = set(refused)
        for turn in range(TURNS if lacking else 0):
            requirements = [self.glossary.requirement(places[i], tokens) for i, tokens in refused.items()]
            found = dict(zip(refused, search([sources[i] for i in refused], requirements), strict=True))
            for i, best in found.items():
                if turn == 0 or not _missing(places[i], best[0]):
                    results[i] = best
            more = {i: self._displaced(texts[i], best, places[i]) - refused[i] for i, best in found.items()}
            refused = {i: refused[i] | tokens for i, tokens in more.items() if tokens}
            if not refused:
                break
        for i in lacking:
            results[i] = [dataclasses.replace(each, missing=_missing(places[i], each)) for each in results[i]]

    def _displaced(self, text: str, best: list[Translation], places: dict[Words, list[int]]) -> set[int]:
        """The tokens of words that stand in a translation in place of a term."""
        shares = self.aligner.shares(text, best[0].text) if self.aligner else None
        return set() if shares is None else self.glossary.displaced(best[0].text, shares, places)

    def mark_parted(self, line: str, sentences: list[Sentence], best: list[Translation]) -> list[Translation]:
        """Mark missing terms whose words are spread over several sentences of a line."""
        whole = {term for sentence in sentences for term in self.glossary.find(sentence.text)}
        parted = [term for term in self.glossary.find(line) if term not in whole]
        return [dataclasses.replace(each, missing=each.missing + _missing(parted, each)) for each in best]


def _missing(terms: Iterable[Words], translation: Translation) -> tuple[Words, ...]:
    """The terms that a translation lacks."""
    return tuple(term for term in terms if not appears(term, translation.text))
