"""Word alignment with a bundle: by the attention heads that its export chose, or by hiding words."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from heed.models.arrays import FloatArray
from heed.models.decoding.alignment import Texts, Tokenizers, Words, align, attended, links
from heed.models.decoding.batching import plan_batches
from heed.models.errors import ModelError
from heed.models.runtime.states import States
from heed.models.system.forks import call_in_children
from heed.models.tasks.translation.translation import Link
from heed.models.text.words import spaced_words

if TYPE_CHECKING:
    from heed.models.bundle.bundle import Bundle
    from heed.models.decoding.config import AlignmentHeads
    from heed.models.runtime.attention import AttentionGraphs

BATCH_SIZE = 32  # pairs read together
LONGEST = 512  # tokens of a side that are read; attention grows with their square


class Aligner:
    """Aligns the words of texts and their translations.

    Args:
        tokenizers: Of source and target.
        states: Of the network over the whole vocabulary.
        attention: Loads the graphs that show the attention of the heads; None: words are hidden.
        heads: The heads to read.
        longest: Maximum number of tokens of a side.
    """

    def __init__(
        self,
        tokenizers: Tokenizers,
        states: States,
        attention: "Callable[[], AttentionGraphs] | None" = None,
        heads: "AlignmentHeads | None" = None,
        longest: int = LONGEST,
    ) -> None:
        self._tokenizers, self._states, self._heads, self._longest = tokenizers, states, heads, longest
        self._load, self._loading = attention, threading.Lock()
        self._graphs: AttentionGraphs | None = None
        call_in_children(self._renew)

    @classmethod
    def of(cls, bundle: "Bundle", tokenizers: Tokenizers, device: str, states: States) -> "Aligner":
        """The aligner of a bundle, which loads its graphs when they are needed."""
        heads, spec = bundle.manifest.alignment, bundle.manifest.network
        limits = [stack.n_positions for stack in spec.stacks.values() if stack.n_positions is not None]

        def load() -> "AttentionGraphs":
            from heed.models.runtime.attention import AttentionGraphs

            assert heads is not None
            layers, files = {"cross": [heads.layer]}, bundle.manifest.files
            return AttentionGraphs(bundle.path, spec, files, device=device, threads=1, layers=layers)

        return cls(tokenizers, states, load if heads else None, heads, min([LONGEST, *limits]) - 1)

    def _renew(self) -> None:
        self._loading = threading.Lock()  # a thread that does not live in this process may hold the other one

    def close(self) -> None:
        """Free the graphs; see `heed.models.tasks.model.Model`."""
        with self._loading:
            self._load, self._graphs = None, None

    def _loaded(self) -> "AttentionGraphs":
        with self._loading:
            if self._load is None:
                raise ModelError("this model is closed; load it again")
            self._graphs = self._graphs or self._load()
            return self._graphs

    def shares(self, src: str, tgt: str) -> FloatArray | None:
        """The share of each source word in each word of a translation; None if they are too long or empty.

        Words and punctuation marks are those of `heed.models.text.words.word_spans`.
        """
        (found,) = self._shares([(src, tgt)], None)
        return found

    def links(self, pairs: Sequence[Texts]) -> list[list[Link] | None]:
        """The aligned words of each pair, which white space separates; None if a text is too long."""
        words = [(spaced_words(src), spaced_words(tgt)) for src, tgt in pairs]
        found = self._shares(pairs, words)
        return [
            None if shares is None else [(src[i], tgt[j]) for i, j in links(shares)]
            for shares, (src, tgt) in zip(found, words, strict=True)
        ]

    def _shares(self, pairs: Sequence[Texts], words: Sequence[Words] | None) -> list[FloatArray | None]:
        """The shares of each pair; None if a side is too long or empty."""
        sizes = [len(side) for side in self._encoded(pairs)]
        lengths = [max(both) for both in zip(sizes[::2], sizes[1::2], strict=True)]
        found: list[FloatArray | None] = [None] * len(pairs)
        fitting = [i for i, length in enumerate(lengths) if length <= self._longest and all(pairs[i])]
        for batch in plan_batches([lengths[i] for i in fitting], BATCH_SIZE):
            chosen = [fitting[i] for i in batch]
            some = [words[i] for i in chosen] if words else None
            for i, shares in zip(chosen, self._batch([pairs[i] for i in chosen], some), strict=True):
                found[i] = shares
        return found

    def _encoded(self, pairs: Sequence[Texts]) -> list[list[int]]:
        """The token ids of the sources and translations in turn."""
        src, tgt = (
            tokenizer.encode(texts) for tokenizer, texts in zip(self._tokenizers, zip(*pairs, strict=True), strict=True)
        )
        return [ids for both in zip(src, tgt, strict=True) for ids in both]

    def _batch(self, pairs: Sequence[Texts], words: Sequence[Words] | None) -> list[FloatArray]:
        if self._heads is not None:
            return attended(self._loaded(), self._heads, self._tokenizers, pairs, words)
        with self._states.borrow() as state:
            return [
                align(state, self._tokenizers, *texts, words[i] if words else None) for i, texts in enumerate(pairs)
            ]
