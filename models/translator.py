"""Lines of text to their translations: tokens, batches of about equal length, search, and text again."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from heed.models.search import DecodeConfig, Hypothesis, Network, SpecialIds, search
from heed.models.tokenizer import Tokenizer

BATCH_SIZE = 64  # lines decoded together
WINDOW = 32  # batches whose lines are sorted by length together


@dataclasses.dataclass(frozen=True)
class Translation:
    """A line's translation."""

    text: str
    tokens: list[int]  # the target's token ids, without special ones
    log_prob: float  # of the tokens and their end, in nats
    score: float  # log_prob over the length penalty; what the search ranks by


class Translator:
    """Translates lines by a network and its tokenizers.

    Args:
        network: In ONNX Runtime or in PyTorch.
        src_tokenizer: Of the lines.
        tgt_tokenizer: Of the translations.
    """

    def __init__(self, network: Network, src_tokenizer: Tokenizer, tgt_tokenizer: Tokenizer) -> None:
        self._network = network
        self._src, self._tgt = src_tokenizer, tgt_tokenizer
        self._special = SpecialIds(bos_id=tgt_tokenizer.bos_id, eos_id=tgt_tokenizer.eos_id, unk_id=tgt_tokenizer.unk_id)

    def translate(
        self, lines: Sequence[str], config: DecodeConfig | None = None, *, batch_size: int = BATCH_SIZE
    ) -> list[Translation]:
        """Translate lines; one translation each, in their order, empty for a blank line."""
        config = config or DecodeConfig()
        sources = [[*ids, self._src.eos_id] if ids else [] for ids in self._src.encode(lines)]
        # Lines of equal length share a batch, so that little of it is padding; blank ones need none.
        order = sorted((i for i, source in enumerate(sources) if source), key=lambda i: len(sources[i]))
        found: list[Hypothesis] = [Hypothesis([], 0.0, 0.0)] * len(lines)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            results = search(self._network, [sources[i] for i in batch], config, self._special)
            for i, hypotheses in zip(batch, results, strict=True):
                found[i] = hypotheses[0]
        texts = self._tgt.decode([hypothesis.tokens for hypothesis in found])
        return [Translation(text, best.tokens, best.log_prob, best.score) for text, best in zip(texts, found, strict=True)]

    def translate_lines(
        self, lines: Iterable[str], config: DecodeConfig | None = None, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Translation]:
        """Translate a stream of lines in bounded memory, a window of some batches at a time."""
        remaining = iter(lines)
        while window := list(islice(remaining, batch_size * WINDOW)):
            yield from self.translate(window, config, batch_size=batch_size)
