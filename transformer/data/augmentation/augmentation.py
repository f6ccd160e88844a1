"""Pairs as they are learnt this time: some with other names and numbers, some in capitals."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from random import Random

from heed.models.text.literals import Literal, LiteralKind
from heed.transformer.data.augmentation.replacements import ReplacementSampler
from heed.transformer.data.augmentation.shared_literals import SharedLiteral, find_shared_literals, learn_names
from heed.transformer.data.text.sources import Pair

LISTS = 0.3  # of names joined by a short word, as in "Tom and Mary", how many become a list of more
TITLES = 0.4  # of sentences in another case, how many are written as titles, and not all in capitals


@dataclasses.dataclass(frozen=True)
class AugmentedPair:
    """A pair, and what was done to it."""

    pair: Pair
    copied: bool = False  # other names, numbers, addresses or code words on both sides
    recased: bool = False


class Augmentation:
    """Changes some pairs, by random numbers.

    Args:
        pairs: A sample of the corpus, of which the names are learnt.
        languages: The codes of source and target, for the separators of numbers; "" where they are not known.
        copy_share: Of the pairs with something alike, those that get another thing in its place.
        case_share: Of all pairs, those that are written in capitals, or as titles.
    """

    def __init__(
        self, pairs: Iterable[Pair], languages: tuple[str, str], *, copy_share: float, case_share: float
    ) -> None:
        names = learn_names(pairs) if copy_share else []
        self._names = frozenset(names)
        self._replacements = ReplacementSampler(names, languages)
        self._copy_share, self._case_share = copy_share, case_share

    def __call__(self, pairs: Sequence[Pair], seed: int) -> list[AugmentedPair]:
        """Change some of these; the same ones in the same way for the same seed."""
        random = Random(seed)  # noqa: S311 - no secret
        return [self._augmented(pair, random) for pair in pairs]

    def _augmented(self, pair: Pair, random: Random) -> AugmentedPair:
        copied = self._copied(pair, random) if random.random() < self._copy_share else pair
        recased = _recased(copied, random) if random.random() < self._case_share else copied
        return AugmentedPair(recased, copied=copied != pair, recased=recased != copied)

    def _copied(self, pair: Pair, random: Random) -> Pair:
        things = find_shared_literals(pair, self._names)
        new = [self._replacements.replacement(thing, random) for thing in things]
        if _joins_names(pair, things) and random.random() < LISTS:
            more = [self._replacements.name(random) for _ in range(random.randint(1, 3))]
            new[0] = [[", ".join([each, *more]) for each in side] for side in new[0]]
        return _rewritten(pair, things, new, 0), _rewritten(pair, things, new, 1)


def _rewritten(pair: Pair, things: Sequence[SharedLiteral], new: Sequence[list[list[str]]], side: int) -> str:
    """A side of a pair with other texts in the places of things."""
    places: list[tuple[Literal, str]] = []
    for thing, texts in zip(things, new, strict=True):
        places += zip(thing.sides[side], texts[side], strict=True)
    found, end = [], 0
    for place, text in sorted(places, key=lambda each: each[0].start):
        found += [pair[side][end : place.start], text]
        end = place.stop
    return "".join([*found, pair[side][end:]])


def _joins_names(pair: Pair, things: Sequence[SharedLiteral]) -> bool:
    """Whether the first two things are names with nothing but a short word between them, on both sides."""
    if len(things) < 2 or any(thing.kind is not LiteralKind.NAME for thing in things[:2]):
        return False
    first, second = things[:2]
    if len(first.sides[0]) > 1 or len(second.sides[0]) > 1:
        return False
    between = [text[first.sides[i][0].stop : second.sides[i][0].start] for i, text in enumerate(pair)]
    return all(re.fullmatch(r"\s[^\W\d_A-Z]{1,4}\s", text) for text in between)


def _recased(pair: Pair, random: Random) -> Pair:
    """Both sides in capitals, or the source as a title, of which other languages make plain sentences."""
    if random.random() < TITLES:
        return re.sub(r"(?<![\w'\u2019])[^\W\d_]", lambda match: match[0].upper(), pair[0]), pair[1]
    return pair[0].upper(), pair[1].upper()
