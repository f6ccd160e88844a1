"""What a sentence and its translation have alike: names, numbers, addresses and code words."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from heed.models.text.literals import Literal, LiteralKind, find_literals
from heed.models.text.numbers import digits_of
from heed.transformer.data.text.sources import Pair

SHORTEST = 3  # letters of a name
ALIKE = 0.5  # of the pairs with a name, how many have it on both sides, at least; and
ORDINARY = 0.1  # how many have it without a capital, at most: then it is a word that began a sentence
GENITIVE = "s"  # what a name gets in the translation where English has an apostrophe


@dataclasses.dataclass(frozen=True)
class SharedLiteral:
    """Something that stands on both sides."""

    kind: LiteralKind
    sides: tuple[tuple[Literal, ...], tuple[Literal, ...]]  # where, in the source and in the target; as often in both


def find_shared_literals(pair: Pair, names: frozenset[str]) -> list[SharedLiteral]:
    """What both sides of a pair have, equally often, in the order of the source.

    Args:
        pair: The source and the target.
        names: The words that are names, see `learn_names`.
    """
    sides = [_by_key(list(find_literals(text)), names) for text in pair]
    found = []
    for key, src in sides[0].items():
        tgt = sides[1].get(key, [])
        if key[0] is LiteralKind.NAME and len(tgt) < len(src):
            tgt = tgt + sides[1].get((LiteralKind.NAME, key[1] + GENITIVE), [])
        if len(src) == len(tgt):
            found.append(SharedLiteral(key[0], (tuple(src), tuple(tgt))))
    return found


def _by_key(literals: Sequence[Literal], names: frozenset[str]) -> dict[tuple[LiteralKind, str], list[Literal]]:
    """Literals by what makes them equal: numbers by their digits, for languages differ in the marks between them."""
    found: dict[tuple[LiteralKind, str], list[Literal]] = {}
    for literal in literals:
        key = digits_of(literal.text) if literal.kind is LiteralKind.NUMBER else literal.text
        if literal.kind is not LiteralKind.NAME or key in names or key.removesuffix(GENITIVE) in names:
            found.setdefault((literal.kind, key), []).append(literal)
    return found


def learn_names(pairs: Iterable[Pair]) -> list[str]:
    """The words of a corpus that are names written alike in both languages, sorted.

    Those with a capital letter that the target has as well in most pairs, and that are hardly ever written without it.
    """
    seen, alike, small = Counter[str](), Counter[str](), Counter[str]()
    for src, tgt in pairs:
        names = {literal.text for literal in find_literals(src) if literal.kind is LiteralKind.NAME}
        words = set(re.findall(r"\w[\w-]*", tgt))
        seen.update(names)
        alike.update(names & words)
        small.update(set(re.findall(r"\w[\w-]*", src)) - names)
    return sorted(
        name
        for name, n_alike in alike.items()
        if len(name) >= SHORTEST and n_alike >= ALIKE * seen[name] and small[name.lower()] <= ORDINARY * seen[name]
    )
