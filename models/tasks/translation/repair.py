"""Translations that lost a number, an address, a code word or a name are searched again."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from heed.models.decoding.constraints import Phrase
from heed.models.tasks.translation.batch_search import Job
from heed.models.tasks.translation.doubts import UNLIKELY
from heed.models.tasks.translation.losses import ExpectedLiteral, Losses
from heed.models.tasks.translation.translation import Translation
from heed.models.text.capitals import in_small_letters, is_in_capitals
from heed.models.text.literals import Literal, LiteralKind
from heed.models.text.markup.inline import CITIES, PEOPLE, StrippedLine, keeps_names, shown, take_out
from heed.models.text.words import Span, keeps_quotes, n_quotes, with_straight_quotes
from heed.models.tokenizers.protocol import LineTokenizer

CAPITALS = "capitals"  # what is told of a sentence that was translated in small letters
QUOTE = '"'  # and of one in which quotation marks lost their partners
NUMBERS = ("50", "20", "30", "40", "60", "70", "80", "90")  # that every model knows
# A confidence from which a translation of capitals is taken as it is. Few models learn capitals: what they make of them
# reads as nonsense at 0.46 to 0.59, and the same sentences in small letters have 0.8 to 0.95.
SURE = 0.8
SURER = 0.25  # how much surer
# What is put in the place of what was lost, one after another, before it is required as it is: few models believe that
# somebody travelled through Maria.
TURNS = (PEOPLE + CITIES, CITIES + PEOPLE)
# By how many nats a repaired translation may be less likely than the first one, for each token that was required. With
# the default model of 0.1, names that English and German write alike cost up to 4.2, other words 2.2 to 17.
MARGIN = {LiteralKind.NUMBER: 6.0, LiteralKind.ADDRESS: 6.0, LiteralKind.CODE: 6.0, LiteralKind.NAME: 2.5}
MARGIN_AT_FIRST = 2.0  # of a name that begins the sentence
# By how many nats a translation must be more likely with another name in the place of a word, by which words that are
# translated are told from names: three quarters of these gain more than 1. Any word may begin a sentence. A word that
# left no trace is less likely to have been translated, for names that are translated are mostly alike: Mexico, Mexiko.
# Where all nouns have capitals, any may be a word that is translated, and only names that stand bare are required as
# they are: with German sources, requiring others made 25 of 1,000 translations worse.
GAIN, GAIN_AT_FIRST, GAIN_OF_NOUN, WITHOUT_TRACE = 1.0, 3.0, 2.0, -2.0
CERTAIN = 0.5  # nats: a translation that is likelier has translated a word of which it has a trace
WITHIN = r"[\w-]"  # beside a number that is part of a word


class Search(Protocol):
    """Translates a text again."""

    def __call__(
        self, text: str, phrases: Sequence[Phrase], floor: float, *, wants_all: bool = False
    ) -> Job[list[Translation]]:
        """The translations, best first, with what they must have, and their least log-probability.

        If `wants_all`, those of all hypotheses of the beam.
        """
        ...


class _Attempt(NamedTuple):
    """A search in the place of one that lost something."""

    text: StrippedLine  # the sentence, maybe with names that every model knows for what was lost
    required: tuple[ExpectedLiteral, ...]  # what the search must put out
    kept: tuple[ExpectedLiteral, ...]  # what it keeps, if it succeeds
    allowed: float  # by how many nats the translation may be less likely than the first one
    is_named: bool = False  # whether other names stand for what was lost; of these attempts, the likeliest counts


class Repair:
    """Searches again for what translations lost, and judges what is found.

    What is no number is first translated as another name that every model knows, which is replaced afterwards. Numbers,
    and what is lost even so, are required of the search, as terms of a glossary are.

    Args:
        src: The source's tokenizer.
        tgt: The target's.
        languages: The codes of source and target; where one is not known, numbers keep their marks.
        searches: Whether to search again, and not only tell what was lost.
    """

    def __init__(
        self, src: LineTokenizer, tgt: LineTokenizer, languages: tuple[str | None, str | None], *, searches: bool = True
    ) -> None:
        self._losses, self._searches = Losses(src, tgt, languages), searches
        self._src, self._tgt = src, tgt

    def mend(self, source: str, found: list[Translation], search: Search) -> Job[list[Translation]]:
        """Find better translations of a sentence than those that lost something.

        If they still lack it, they say so, but for names: these may rightly have been translated.

        Args:
            source: The sentence.
            found: Its translations, best first.
            search: Searches again.

        Returns:
            The translations to put in their place.
        """
        if self._searches:
            if is_in_capitals(source):
                found = yield from self._mend_capitals(source, found, search)
            found = yield from self._mend_quotes(source, found, search)
        if lost := tuple(self._losses.find(source, found[0].text)):
            found = yield from self._mend_lost(source, lost, found, search)
        if not keeps_quotes(source, text := found[0].text) and n_quotes(text) % 2:
            found = [dataclasses.replace(found[0], lost=(*found[0].lost, QUOTE)), *found[1:]]
        return found

    def _mend_lost(
        self, source: str, lost: tuple[ExpectedLiteral, ...], found: list[Translation], search: Search
    ) -> Job[list[Translation]]:
        first, mended = found[0], list[Translation]()
        for attempt in self._attempts(source, lost, first) if self._searches else ():
            # What the model itself has given up may be saved by an easier sentence, but not by a requirement.
            if (mended and not attempt.is_named) or (first.confidence < UNLIKELY and not attempt.text.names):
                break
            floor = max([first.log_prob - attempt.allowed, *(each.log_prob for each in mended[:1])])
            if floor > 0:  # nothing is as likely
                continue
            phrases = [self._phrase(each) for each in attempt.required]
            best = yield from search(attempt.text.text, phrases, floor)
            mended = self._mended(source, attempt, best, first) or mended
        found = mended or found
        left = (each for each in self._losses.find(source, found[0].text) if each.kind is not LiteralKind.NAME)
        return [dataclasses.replace(found[0], lost=tuple(each.text for each in left)), *found[1:]]

    def _mend_quotes(self, source: str, found: list[Translation], search: Search) -> Job[list[Translation]]:
        """Take a less likely hypothesis where the best has lost a quotation mark, and another of the beam has not."""
        if keeps_quotes(source, found[0].text):
            return found
        best = yield from search(with_straight_quotes(source), (), -math.inf, wants_all=True)
        good = [each for each in best if keeps_quotes(source, each.text) and not each.looped]
        if not good or found[0].log_prob - good[0].log_prob > MARGIN[LiteralKind.NAME]:
            return found
        return [dataclasses.replace(each, repaired=(QUOTE,)) for each in good[: len(found)]]

    def _mend_capitals(self, source: str, found: list[Translation], search: Search) -> Job[list[Translation]]:
        """Translate a sentence in capitals in small letters instead, and put the translation in capitals.

        That is tried where the model is not sure, and kept where it makes it surer.
        """
        small, names, rare = in_small_letters(source, self._n_tokens)
        best = found
        for taken, gain in ((names, 0.0), (rare, SURER)):
            if (taken is rare and rare == names) or not self._is_doubtful(source, small, best[0]):
                break
            other = yield from self._in_small_letters(small, taken, search)
            if other and (other[0].confidence > best[0].confidence + gain or self._restores(source, best, other)):
                best = other
        return best

    def _is_doubtful(self, source: str, small: str, found: Translation) -> bool:
        """Whether the translation of a sentence in capitals is unlikely, or lacks something."""
        inner_names = (word for word in re.findall(r"\w+", small)[1:] if word[0].isupper())
        unsure = found.confidence < SURE or found.looped or any(name.upper() not in found.text for name in inner_names)
        return unsure or bool(self._losses.find(source, found.text))

    def _restores(self, source: str, before: Sequence[Translation], after: Sequence[Translation]) -> bool:
        """Whether translations have all that others lost."""
        return bool(self._losses.find(source, before[0].text)) and not self._losses.find(source, after[0].text)

    def _in_small_letters(self, small: str, names: Sequence[Span], search: Search) -> Job[list[Translation]]:
        if not (text := take_out(small, names)):
            return []
        numbers = [each for each in self._losses.expected(text.text) if each.kind is LiteralKind.NUMBER]
        best = yield from search(text.text, [self._phrase(each) for each in numbers], -math.inf)
        return [
            dataclasses.replace(mended, text=mended.text.upper(), repaired=(CAPITALS,))
            for each in best
            if keeps_names(text, each.text, endings="s") and not each.looped
            for mended in [self._put_back(text, each)]
        ]

    def _n_tokens(self, word: str) -> int:
        return len(self._src.encode([word])[0])

    def _attempts(self, source: str, lost: tuple[ExpectedLiteral, ...], first: Translation) -> Iterator[_Attempt]:
        """What to search for a sentence, one after another until one succeeds."""
        sure = tuple(each for each in lost if each.kind is not LiteralKind.NAME)
        numbers = tuple(each for each in lost if each.kind is LiteralKind.NUMBER)
        expected = self._losses.expected(source)
        if numbers != lost:  # also what was kept is in the way of the rest: a sentence of such names is hard to read
            copied = [each for each in expected if each.kind is not LiteralKind.NUMBER]
            copied = [each for each in copied if each in lost or each.stands(first.text)]
            places = sorted(at.span for each in copied for at in expected[each])
            for turn, others in enumerate(TURNS):
                if text := take_out(source, places, names=others):
                    names = tuple(ExpectedLiteral(LiteralKind.NAME, name) for name in text.names) if turn else ()
                    allowed = sum(map(self._allowed, sure)) - sum(_gain(each, first.text) for each in lost)
                    yield _Attempt(text, (*numbers, *names), lost, allowed, is_named=True)
        values = tuple(each for each in expected if each.kind is not LiteralKind.NAME and self._phrase(each))
        every = tuple(each for each in values if each.kind is LiteralKind.NUMBER)
        for some in dict.fromkeys((numbers, every)) if numbers else ():  # what was kept may be in the way, too
            dates = tuple(each for each in some if each.others)
            if some != dates and (easy := _with_easy_numbers(source, some, expected)):
                yield _Attempt(easy, dates, numbers, sum(map(self._allowed, numbers)))
        plain = StrippedLine(source, [], {})
        # What cannot be had with a name may be had without it, and nothing else may be lost.
        wanted = [lost, sure, (*lost, *(each for each in values if each not in lost)), values]
        for some in dict.fromkeys(each for each in wanted if each):
            if some != lost or not self._is_translated(lost, first):
                kept = tuple(each for each in some if each in lost)
                yield _Attempt(plain, some, kept, sum(map(self._allowed, some)))

    @staticmethod
    def _is_translated(lost: tuple[ExpectedLiteral, ...], first: Translation) -> bool:
        """Whether what was lost is likely to be a word that was translated.

        Nouns are, and names that left a trace in a translation that the model is sure of: Spanien.
        """
        if any(each.may_be_noun for each in lost):
            return True
        traces = all(each.kind is LiteralKind.NAME and each.has_trace(first.text) for each in lost)
        return traces and first.log_prob > -CERTAIN

    def _mended(
        self, source: str, attempt: _Attempt, best: Sequence[Translation], first: Translation
    ) -> list[Translation]:
        """The translations of an attempt with all that was lost, at a price that is worth it; maybe none."""
        kept = [
            self._put_back(attempt.text, each) for each in best if keeps_names(attempt.text, each.text, endings="s")
        ]
        texts = tuple(each.text for each in attempt.kept)
        required = [each for each in attempt.required if each.text not in attempt.text.names]
        good = [
            dataclasses.replace(each, repaired=texts)
            for each in kept
            if not each.looped and all(lost.stands(each.text) for lost in required)
        ]
        if not good or first.log_prob - good[0].log_prob > attempt.allowed:
            return []
        if keeps_quotes(source, first.text) and not keeps_quotes(source, good[0].text):
            return []
        newly_lost = set(self._losses.find(source, good[0].text)) - set(self._losses.find(source, first.text))
        return [] if any(each.kind is not LiteralKind.NAME for each in newly_lost) else good

    def _put_back(self, text: StrippedLine, found: Translation) -> Translation:
        """A translation with the names of the sentence in the places of others."""
        if not text.names:
            return found
        pieces = [self._tgt.piece(token) for token in found.tokens]
        return dataclasses.replace(found, text=text.filled(found.text), shown=shown(pieces, text.names))

    def _allowed(self, lost: ExpectedLiteral) -> float:
        margin = MARGIN_AT_FIRST if lost.may_be_word else MARGIN[lost.kind]
        return margin * len(self._tgt.encode([lost.text])[0])

    def _phrase(self, lost: ExpectedLiteral) -> Phrase:
        """The tokens of the ways to write what was lost, one of which a search must put out."""
        encoded = self._tgt.encode([lost.text, *lost.others])
        return [tuple(tokens) for tokens in encoded if tokens and self._tgt.unk_id not in tokens]


def _gain(lost: ExpectedLiteral, translation: str) -> float:
    if lost.kind is not LiteralKind.NAME:
        return 0.0
    if lost.may_be_noun or lost.is_bare:
        return GAIN_OF_NOUN if lost.may_be_noun else GAIN
    return (GAIN_AT_FIRST if lost.may_be_word else GAIN) + (0.0 if lost.has_trace(translation) else WITHOUT_TRACE)


def _with_easy_numbers(
    source: str, numbers: tuple[ExpectedLiteral, ...], expected: Mapping[ExpectedLiteral, Sequence[Literal]]
) -> StrippedLine | None:
    """A sentence with numbers that every model knows for long ones, to be replaced as the target writes these."""
    places = sorted((at.start, at.stop, each.text) for each in numbers if not each.others for at in expected[each])
    if any(re.search(WITHIN, source[max(start - 1, 0) : start] + source[stop : stop + 1]) for start, stop, _ in places):
        return None
    text = take_out(source, [(start, stop) for start, stop, _ in places], names=NUMBERS)
    written = [text for _, _, text in places]
    return text and text._replace(names=dict(zip(text.names, written, strict=True)))
