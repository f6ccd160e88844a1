"""Whether a network copies what it has never seen, by its validation text with other names and numbers."""

import re
from collections.abc import Sequence

from heed.models.text.literals import LiteralKind, find_literals
from heed.transformer.data.augmentation.augmentation import Augmentation
from heed.transformer.data.augmentation.shared_literals import find_shared_literals
from heed.transformer.data.text.parallel_text import ParallelText
from heed.transformer.data.text.sources import Pair

MOST = 200  # pairs
SEED = 0


class CopyProbe:
    """Sentences, and what each translation must have as it is.

    Args:
        text: Pairs, of which those with a name, number, address or code word on both sides get another one.
        languages: The codes of source and target.
    """

    def __init__(self, text: ParallelText, languages: tuple[str, str]) -> None:
        pairs = list(zip(text.src, text.tgt, strict=True))
        augmentation = Augmentation(pairs, languages, copy_share=1.0, case_share=0.0)
        chosen = [each.pair for each in augmentation(pairs, SEED) if each.copied][:MOST]
        self.sources = [src for src, _ in chosen]
        self._required = [_required(pair) for pair in chosen]

    def share_kept(self, translations: Sequence[str]) -> float:
        """In percent, how many translations have all that they must."""
        kept = [
            all(re.search(rf"(?<!\w){re.escape(text)}(?!\w)", translation) for text in required)
            for required, translation in zip(self._required, translations, strict=True)
        ]
        return 100 * sum(kept) / max(len(kept), 1)


def _required(pair: Pair) -> set[str]:
    """What the target of a pair has of its source."""
    names = frozenset(literal.text for literal in find_literals(pair[1]) if literal.kind is LiteralKind.NAME)
    return {literal.text for thing in find_shared_literals(pair, names) for literal in thing.sides[1]}
