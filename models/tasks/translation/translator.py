"""Translation of lines: to sentences, tokens, batches of similar length, search, and back to text."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from heed.models.decoding.config import ROOM, DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Phrase, Requirement
from heed.models.decoding.hypothesis import Hypothesis
from heed.models.decoding.repetition import is_loop, may_loop
from heed.models.errors import HeedError
from heed.models.runtime.protocol import Network
from heed.models.runtime.states import States
from heed.models.system.threads import require_threads
from heed.models.tasks.model import Model
from heed.models.tasks.translation.batch_search import BatchSearch, Job, Jobs, Query
from heed.models.tasks.translation.characters import UnknownCharacters, visible
from heed.models.tasks.translation.doubts import UNLIKELY
from heed.models.tasks.translation.line_task import LineTask, joined
from heed.models.tasks.translation.loading import load
from heed.models.tasks.translation.repair import Repair
from heed.models.tasks.translation.translation import Sentence, Translation
from heed.models.text.markup.placeholders import has_letters
from heed.models.text.sentences import cut, split_sentences
from heed.models.text.words import Span
from heed.models.tokenizers.protocol import LineTokenizer

if TYPE_CHECKING:
    from heed.models.tasks.translation.aligner import Aligner
    from heed.models.tasks.translation.terms import TermSearch
    from heed.models.text.glossary import Glossary

BATCH_SIZE = 128  # maximum number of sentences decoded together
WINDOW = 16  # batches that are sorted by length together
WIDER = 2  # factor of the beam size with constraints, because hypotheses that lack more and less share the beam
MANY = 256  # texts, to be encoded by several threads
LONGEST = 512  # tokens; a longer sentence is translated in parts, because attention grows with the square of the length


class Translator(Model):
    """Translates lines with a network and its tokenizers.

    Args:
        network: In ONNX Runtime or in PyTorch.
        src_tokenizer: The source tokenizer.
        tgt_tokenizer: The target tokenizer.
        config: Default search settings.
        workers: Number of batches decoded in parallel, each by a thread; the network must allow that.
        split: Translate each sentence of a line separately, not the line as a whole.
        language: Language of the lines, such as "de", if known; see `split_sentences`.
        glossary: Terms that translations must contain.
        whole: Makes the network over the whole vocabulary when it is first needed, if `network` uses a shortlist; for
            glossaries and second searches.
        repair: Finds what translations lost; None: no second searches.
        aligner: Makes what aligns words for glossaries, mark-up and the caller, given states over the whole vocabulary;
            None: nothing does.
    """

    load = staticmethod(load)

    def __init__(
        self,
        network: Network,
        src_tokenizer: LineTokenizer,
        tgt_tokenizer: LineTokenizer,
        config: DecodeConfig | None = None,
        *,
        workers: int = 1,
        split: bool = True,
        language: str | None = None,
        glossary: "Glossary | None" = None,
        whole: Callable[[], Network] | None = None,
        repair: Repair | None = None,
        aligner: "Callable[[States], Aligner] | None" = None,
    ) -> None:
        self.config = config or DecodeConfig()
        self._language = language
        self.splits = split  # whether sentences are translated separately
        self.workers = workers
        self._states = States(lambda: network, workers)
        self._whole_states = States(whole, workers) if whole else self._states
        super().__init__(self._states, self._whole_states)
        self._repair = repair
        self.aligner = aligner(self._whole_states) if aligner else None
        self._terms = _term_search(glossary, self.aligner) if glossary else None
        self._src, self._tgt = src_tokenizer, tgt_tokenizer
        n_positions = network.spec.encoder.n_positions if network.spec.encoder else None
        self._longest = LONGEST if n_positions is None else min(LONGEST, n_positions - 1)  # without the end token
        self._unknown = UnknownCharacters(src_tokenizer)
        special = SpecialIds.of(tgt_tokenizer, blank=tgt_tokenizer.blank)
        search = functools.partial(BatchSearch, special=special, context=network.context, workers=workers)
        # A shortlist can have any token where both languages share a vocabulary, for it has those of the source.
        is_joint = src_tokenizer is tgt_tokenizer
        self._batches = search(self._states, self._states if is_joint else self._whole_states)
        self._whole_batches = search(self._whole_states, self._whole_states)

    def close(self) -> None:
        """See `Model`; also ends the threads."""
        super().close()
        if self.aligner:
            self.aligner.close()
        self._batches.close()
        self._whole_batches.close()

    def translate(
        self,
        lines: Sequence[str],
        config: DecodeConfig | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[Translation]:
        """Translate lines; one translation for each, in order.

        White space around sentences is kept, and a line with nothing to translate is copied.
        """
        return [best[0] for best in self.n_best(lines, config, 1, batch_size=batch_size)]

    def n_best(
        self,
        lines: Sequence[str],
        config: DecodeConfig | None = None,
        n: int = 1,
        *,
        batch_size: int = BATCH_SIZE,
        aligned: bool = False,
    ) -> list[list[Translation]]:
        """The best translations of each line, best first: at most `n`, and at most the beam size.

        For a line of several sentences, these are the combinations of their translations with the best sums of scores.
        If `aligned`, they have links of words, for which the translator needs an aligner.
        """
        config = config or self.config
        sentences = self._sentences(lines)
        chosen = [sentence for line in sentences for sentence in line if sentence.tokens]
        texts = [sentence.text for sentence in chosen]
        sources = [[*sentence.tokens, self._src.eos_id] for sentence in chosen]
        results = self._batches.run([self._job(each, config, n) for each in chosen], config, n, batch_size)
        if self._terms:
            required = functools.partial(self._required, config, n, batch_size)
            self._terms.require(texts, sources, results, required, functools.partial(self._scored, config))
        if aligned and self.aligner:
            results = _linked(self.aligner, texts, results)
        found = iter(results)
        combined = [joined(line, found, n) for line in sentences]
        if self._terms:
            for i, line in enumerate(lines):
                if len(sentences[i]) > 1:
                    combined[i] = self._terms.mark_parted(line, sentences[i], combined[i])
        return combined

    def begin(self, lines: Sequence[str], n: int = 1) -> list[LineTask]:
        """Tasks to translate lines with other ones; see `advance`. Terms of a glossary are not required."""
        return [
            LineTask(line, Jobs([self._job(each, self.config, n) for each in line if each.tokens]), n)
            for line in self._sentences(lines)
        ]

    def advance(self, tasks: Sequence[LineTask], *, batch_size: int = BATCH_SIZE) -> None:
        """Search once for each of some tasks of equal `n`; those that are not done need it again, maybe with others."""
        n = max((task.n for task in tasks), default=1)
        self._batches.advance([task.jobs for task in tasks], self.config, n, batch_size)

    def pieces(self, tokens: list[int]) -> list[str]:
        """The pieces of a translation, with "▁" for the space before a word."""
        return [self._tgt.piece(token) for token in tokens]

    def has_words(self, text: str) -> bool:
        """Whether a text has something to translate: letters, or what else the model's vocabulary is made of."""
        return has_letters(text) or (text.strip() != "" and not self._reads_letters)

    @cached_property
    def _reads_letters(self) -> bool:
        """Whether a token of the source has a letter, but for special ones: some models read numbers alone."""
        pieces = (self._src.piece(token) for token in range(len(self._src)))
        return any(has_letters(piece) for piece in pieces if not re.fullmatch("<.+>", piece))

    def unknown(self, text: str) -> list[Span]:
        """Where the characters of a text are that the model does not know; see `UnknownCharacters`."""
        return self._unknown.find(text)

    def _sentences(self, lines: Sequence[str]) -> list[list[Sentence]]:
        """The sentences of each line, split if they are too long; none for an empty line."""
        pieces = [split_sentences(line, self._language) if self.splits else [line] for line in lines]
        words = [self._readable(piece) for line in pieces for piece in line]
        tokens = iter(self._src.encode(words, self._encoders(len(words))))
        return [[part for piece in line for part in self._fit(piece, next(tokens))] for line in pieces]

    def _encoders(self, n_texts: int) -> int:
        """The number of threads that encode so many texts: one where the system starts no more, or few are there."""
        if self.workers == 1 or n_texts < MANY:
            return 1
        try:
            require_threads(self.workers)
        except HeedError:
            return 1
        return self.workers

    def _readable(self, piece: str) -> str:
        """What the network reads of a piece; nothing where nothing is to translate."""
        return visible(piece).strip() if self.has_words(piece) else ""

    def _fit(self, piece: str, tokens: list[int]) -> list[Sentence]:
        """A sentence with its white space, in parts of a length that the network can read."""
        words = piece.strip()
        if len(tokens) <= self._longest or len(words) == 1:
            n_before = len(piece) - len(piece.lstrip())
            return [Sentence(words, tokens, piece[:n_before], piece[n_before + len(words) :])]
        parts = list(cut(piece, max(1, len(piece) * self._longest * 3 // 4 // len(tokens))))
        encoded = self._src.encode([self._readable(part) for part in parts])
        return [fitting for part, ids in zip(parts, encoded, strict=True) for fitting in self._fit(part, ids)]

    def _job(self, sentence: Sentence, config: DecodeConfig, n: int) -> Job[list[Translation]]:
        """Translate a sentence, and repair that."""
        source = [*sentence.tokens, self._src.eos_id]
        found = self._translations(source, (yield Query(source)), config)
        if not self._repair or self._terms:
            return found

        again = functools.partial(self._again, config, n)
        return (yield from self._repair.mend(sentence.text, found, again))

    def _again(
        self,
        config: DecodeConfig,
        n: int,
        text: str,
        phrases: Sequence[Phrase],
        floor: float,
        *,
        wants_all: bool = False,
    ) -> Job[list[Translation]]:
        """Search for translations of another text, which contain phrases; see `Repair`."""
        source = [*self._src.encode([text])[0], self._src.eos_id]
        requirement = Requirement(phrases, self._tgt.begins_word, self._tgt.bos_id) if phrases else None
        is_much = requirement is not None and requirement.lacks(0) > config.beam_size // 2
        query = Query(source, requirement, floor if n == 1 else -math.inf, WIDER if is_much else 1, wants_all)
        return self._translations(source, (yield query), config)

    def _required(
        self,
        config: DecodeConfig,
        n: int,
        batch_size: int,
        sources: Sequence[list[int]],
        requirements: list[Requirement],
    ) -> list[list[Translation]]:
        """The best translations that meet the requirements, from a wider beam."""
        queries = [Query(*each, widening=WIDER) for each in zip(sources, requirements, strict=True)]
        found = self._whole_batches.search(queries, config, n, batch_size)
        return [self._translations(source, best, config) for source, best in zip(sources, found, strict=True)]

    def _scored(self, config: DecodeConfig, source: list[int], texts: Sequence[str]) -> list[Translation]:
        """Given translations of a source, with their scores, but for those that are too long."""
        outputs = [each for each in self._tgt.encode(list(texts)) if self._whole_batches.fits(source, each, config)]
        found = self._whole_batches.score([source] * len(outputs), outputs, config) if outputs else []
        return self._translations(source, found, config)

    def _translations(self, source: list[int], best: list[Hypothesis], config: DecodeConfig) -> list[Translation]:
        """The best hypotheses of a source as text, with loops marked."""
        texts = self._tgt.decode([found.tokens for found in best]) if best else []
        found = [
            Translation(text, each.tokens, each.log_prob, each.score) for text, each in zip(texts, best, strict=True)
        ]
        return [dataclasses.replace(each, looped=True) if loops(each, source, config) else each for each in found]

    def translate_lines(
        self,
        lines: Iterable[str],
        config: DecodeConfig | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Translation]:
        """Translate a stream of lines in bounded memory, one window of batches at a time."""
        remaining = iter(lines)
        while window := list(islice(remaining, batch_size * WINDOW)):
            yield from self.translate(window, config, batch_size=batch_size)


# What few need is imported where it is made: it would be a fiftieth of a start.


def _term_search(glossary: "Glossary", aligner: "Aligner | None") -> "TermSearch":
    from heed.models.tasks.translation.terms import TermSearch

    return TermSearch(glossary, aligner)


def _linked(aligner: "Aligner", sources: list[str], results: list[list[Translation]]) -> list[list[Translation]]:
    """The translations of each source with links of their words."""
    pairs = [(source, each.text) for source, best in zip(sources, results, strict=True) for each in best]
    found = iter([tuple(links or ()) for links in aligner.links(pairs)] if pairs else [])
    return [[dataclasses.replace(each, links=next(found)) for each in best] for best in results]


def loops(translation: Translation, source: list[int], config: DecodeConfig) -> bool:
    """Whether a translation repeats a phrase in a loop, or reached the default length limit.

    Where the source repeats itself as well, it does only if the model does not believe in it.
    """
    tokens = translation.tokens
    endless = config.max_length is None and len(tokens) == len(source) - 1 + ROOM
    if endless or not may_loop(tokens):
        return endless
    return is_loop(tokens, source if translation.confidence >= UNLIKELY else [])
