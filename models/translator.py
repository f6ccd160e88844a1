"""Lines of text to their translations: tokens, batches of about equal length, search, and text again."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING

from heed.models.errors import ModelError
from heed.models.processors import available_cores
from heed.models.search import DecodeConfig, Hypothesis, Network, SpecialIds, State, search
from heed.models.tokenizer import Tokenizer, load_tokenizers

if TYPE_CHECKING:
    from pathlib import Path

BATCH_SIZE = 64  # lines decoded together, at most
BATCH_TOKENS = 8192  # and tokens, padding included: long lines share memory that does not grow with them
WINDOW = 32  # batches whose lines are sorted by length together
LONGEST = 512  # tokens; what is longer is translated in pieces, for attention grows with the square


@dataclasses.dataclass(frozen=True)
class Translation:
    """A line's translation."""

    text: str
    tokens: list[int]  # the target's token ids, without special ones
    log_prob: float  # of the tokens and their end, in nats; with a shortlist, among the tokens of the line's
    score: float  # log_prob over the length penalty; what the search ranks by


class Translator:
    """Translates lines by a network and its tokenizers.

    Args:
        network: In ONNX Runtime or in PyTorch.
        src_tokenizer: Of the lines.
        tgt_tokenizer: Of the translations.
        config: How to search, where a call does not say.
        workers: Batches decoded at a time, each by a thread; the network must allow that.
    """

    def __init__(
        self,
        network: Network,
        src_tokenizer: Tokenizer,
        tgt_tokenizer: Tokenizer,
        config: DecodeConfig | None = None,
        *,
        workers: int = 1,
    ) -> None:
        self.config = config or DecodeConfig()
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers)  # starts no thread before one is needed
        self._states: SimpleQueue[State] = SimpleQueue()  # one for each worker, used again and again
        for _ in range(workers):
            self._states.put(network.state())
        self._src, self._tgt = src_tokenizer, tgt_tokenizer
        self._special = SpecialIds(
            bos_id=tgt_tokenizer.bos_id, eos_id=tgt_tokenizer.eos_id, unk_id=tgt_tokenizer.unk_id
        )

    @classmethod
    def load(
        cls, path: "Path", *, device: str = "cpu", threads: int | None = None, shortlist: bool = True
    ) -> "Translator":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: Processor threads; None: as many as the cores that this process may use.
            shortlist: Decode each line over the tokens that its words are likely to need, where the bundle knows them.
                Log-probabilities are those among these tokens then; to compare them between lines, go without.

        Raises:
            ModelError: The bundle is damaged or of a later format, or the device cannot be used.
        """
        # Here and not above, so that the PyTorch side needs no ONNX Runtime.
        from heed.models.bundle import Bundle
        from heed.models.onnx_network import OnnxNetwork

        bundle = Bundle(path)
        manifest, (src, tgt) = bundle.translation(), load_tokenizers(path)
        config = manifest.network
        if (len(src), len(tgt)) != (config.src_vocab_size, config.tgt_vocab_size):
            raise ModelError(f"{path}: damaged: its tokenizer is of another network than its manifest; get it again")
        # Threads that each decode a batch of their own outdo threads that share the operators of one.
        workers = threads or available_cores() if device == "cpu" else 1
        shortlist = shortlist and bundle.has_shortlist
        network = OnnxNetwork(path, config, device=device, threads=1, shortlist=shortlist)
        return cls(network, src, tgt, manifest.decode, workers=workers)

    def translate(
        self,
        lines: Sequence[str],
        config: DecodeConfig | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[Translation]:
        """Translate lines; one translation each, in their order, empty for a blank line."""
        pieces = [_pieces(ids) for ids in self._src.encode(lines)]
        sources = [[*piece, self._src.eos_id] for line in pieces for piece in line]
        found = iter(self._search(sources, config or self.config, batch_size))
        best = [[next(found) for _ in line] for line in pieces]
        texts = iter(self._tgt.decode([piece.tokens for line in best for piece in line]))
        return [
            Translation(
                text=" ".join(next(texts) for _ in line),
                tokens=[token for piece in line for token in piece.tokens],
                log_prob=sum((piece.log_prob for piece in line), 0.0),
                score=sum((piece.score for piece in line), 0.0),
            )
            for line in best
        ]

    def _search(self, sources: list[list[int]], config: DecodeConfig, batch_size: int) -> list[Hypothesis]:
        """The best hypothesis of each source."""
        # Every worker gets a share; the longest batches go first, so that none is left alone with one at the end.
        share = max(1, min(batch_size, -(-len(sources) // self._workers)))
        batches = list(plan_batches([len(source) for source in sources], share))[::-1]
        found: dict[int, Hypothesis] = {}
        for batch, results in zip(batches, self._search_all(sources, batches, config), strict=True):
            found.update(zip(batch, (hypotheses[0] for hypotheses in results), strict=True))
        return [found[i] for i in range(len(sources))]

    def _search_all(
        self, sources: list[list[int]], batches: list[list[int]], config: DecodeConfig
    ) -> Iterable[list[list[Hypothesis]]]:
        def decode(batch: list[int]) -> list[list[Hypothesis]]:
            state = self._states.get()
            try:
                return search(state, [sources[i] for i in batch], config, self._special)
            finally:
                self._states.put(state)

        if min(self._workers, len(batches)) <= 1:
            return map(decode, batches)
        return self._pool.map(decode, batches)

    def translate_lines(
        self,
        lines: Iterable[str],
        config: DecodeConfig | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Translation]:
        """Translate a stream of lines in bounded memory, a window of some batches at a time."""
        remaining = iter(lines)
        while window := list(islice(remaining, batch_size * WINDOW)):
            yield from self.translate(window, config, batch_size=batch_size)


def plan_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Batches of sources of about equal length, so that little of one is padding; yields their indices."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == batch_size or lengths[i] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _pieces(ids: list[int]) -> list[list[int]]:
    """A line's tokens in pieces that the network can take; none for a blank line."""
    n_pieces = -(-len(ids) // LONGEST)
    return [ids[len(ids) * i // n_pieces : len(ids) * (i + 1) // n_pieces] for i in range(n_pieces)]
