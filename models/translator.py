"""Lines of text to their translations: tokens, batches of about equal length, search, and text again."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING

from heed.models.errors import ModelError
from heed.models.processors import available_cores
from heed.models.search import DecodeConfig, Hypothesis, Network, SpecialIds, State, search
from heed.models.sentences import cut, split_sentences
from heed.models.tokenizer import Tokenizer, load_tokenizers
from heed.models.translation import Sentence, Translation, combine

if TYPE_CHECKING:
    from pathlib import Path

BATCH_SIZE = 64  # lines decoded together, at most
BATCH_TOKENS = 8192  # and tokens, padding included: long lines share memory that does not grow with them
WINDOW = 32  # batches whose lines are sorted by length together
LONGEST = 512  # tokens; a sentence that is longer is translated in parts, for attention grows with the square


class Translator:
    """Translates lines by a network and its tokenizers.

    Args:
        network: In ONNX Runtime or in PyTorch.
        src_tokenizer: Of the lines.
        tgt_tokenizer: Of the translations.
        config: How to search, where a call does not say.
        workers: Batches decoded at a time, each by a thread; the network must allow that.
        split: Translate each sentence of a line by itself, and not the line as a whole.
        language: Of the lines, as "de", where it is known; see `split_sentences`.
    """

    def __init__(
        self,
        network: Network,
        src_tokenizer: Tokenizer,
        tgt_tokenizer: Tokenizer,
        config: DecodeConfig | None = None,
        *,
        workers: int = 1,
        split: bool = True,
        language: str | None = None,
    ) -> None:
        self.config = config or DecodeConfig()
        self._split, self._language = split, language
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
        cls,
        path: "Path",
        *,
        device: str = "cpu",
        threads: int | None = None,
        shortlist: bool = True,
        split: bool = True,
    ) -> "Translator":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: Processor threads; None: as many as the cores that this process may use.
            shortlist: Decode each line over the tokens that its words are likely to need, where the bundle knows them.
                Log-probabilities are those among these tokens then; to compare them between lines, go without.
            split: See the class.

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
        return cls(network, src, tgt, manifest.decode, workers=workers, split=split, language=manifest.src_language)

    def translate(
        self,
        lines: Sequence[str],
        config: DecodeConfig | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[Translation]:
        """Translate lines; one translation each, in their order.

        White space around a line's sentences stays, and so does a line in which there is nothing to translate.
        """
        return [best[0] for best in self.n_best(lines, config, 1, batch_size=batch_size)]

    def n_best(
        self,
        lines: Sequence[str],
        config: DecodeConfig | None = None,
        n: int = 1,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Translation]]:
        """The best translations of each line, best first: at most `n`, and no more than the beam is wide.

        Those of a line of several sentences are the combinations of its sentences' translations with the best sums of
        scores.
        """
        sentences = self._sentences(lines)
        tokens = [sentence.tokens for line in sentences for sentence in line if sentence.tokens]
        sources = [[*sentence, self._src.eos_id] for sentence in tokens]
        hypotheses = self._search(sources, config or self.config, n, batch_size)
        texts = iter(self._tgt.decode([found.tokens for best in hypotheses for found in best]))
        found = iter(
            [Translation(next(texts), each.tokens, each.log_prob, each.score) for each in best] for best in hypotheses
        )
        return [
            combine([(each, next(found) if each.tokens else [each.unchanged()]) for each in line], n)
            for line in sentences
        ]

    def pieces(self, tokens: list[int]) -> list[str]:
        """The texts of a translation's tokens, with "▁" for the space before a word."""
        return [self._tgt.piece(token) for token in tokens]

    def _sentences(self, lines: Sequence[str]) -> list[list[Sentence]]:
        """The sentences of each line, cut where they are too long; none for an empty line."""
        pieces = [split_sentences(line, self._language) if self._split else [line] for line in lines]
        words = [piece.strip() for line in pieces for piece in line]
        tokens = iter(self._src.encode(words))
        return [[part for piece in line for part in self._fit(piece, next(tokens))] for line in pieces]

    def _fit(self, piece: str, tokens: list[int]) -> list[Sentence]:
        """A sentence with its white space, in parts that the network can take."""
        words = piece.strip()
        if len(tokens) <= LONGEST or len(words) == 1:
            n_before = len(piece) - len(piece.lstrip())
            return [Sentence(words, tokens, piece[:n_before], piece[n_before + len(words) :])]
        parts = list(cut(piece, max(1, len(piece) * LONGEST * 3 // 4 // len(tokens))))
        encoded = self._src.encode([part.strip() for part in parts])
        return [fitting for part, ids in zip(parts, encoded, strict=True) for fitting in self._fit(part, ids)]

    def _search(
        self, sources: list[list[int]], config: DecodeConfig, n_best: int, batch_size: int
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each source."""
        # Every worker gets a share; the longest batches go first, so that none is left alone with one at the end.
        share = max(1, min(batch_size, -(-len(sources) // self._workers)))
        batches = list(plan_batches([len(source) for source in sources], share))[::-1]
        found: dict[int, list[Hypothesis]] = {}
        for batch, results in zip(batches, self._search_all(sources, batches, config, n_best), strict=True):
            found.update(zip(batch, results, strict=True))
        return [found[i] for i in range(len(sources))]

    def _search_all(
        self, sources: list[list[int]], batches: list[list[int]], config: DecodeConfig, n_best: int
    ) -> Iterable[list[list[Hypothesis]]]:
        def decode(batch: list[int]) -> list[list[Hypothesis]]:
            state = self._states.get()
            try:
                return search(state, [sources[i] for i in batch], config, self._special, n_best=n_best)
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
