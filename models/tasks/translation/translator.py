"""Translation of lines: to sentences, tokens, batches of similar length, search, and back to text."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from heed.models.decoding.batching import plan_batches
from heed.models.decoding.beam_search import Hypothesis, search
from heed.models.decoding.config import ROOM, DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Phrase, Requirement
from heed.models.decoding.repetition import is_loop
from heed.models.runtime.protocol import Network
from heed.models.runtime.states import States
from heed.models.system.forks import call_in_children
from heed.models.system.processor import available_cores
from heed.models.system.threads import ThreadPool
from heed.models.tasks.model import Model
from heed.models.tasks.translation.aligner import Aligner
from heed.models.tasks.translation.repair import Repair
from heed.models.tasks.translation.translation import Sentence, Translation, combine
from heed.models.text.glossary import Glossary, appears
from heed.models.text.markup.placeholders import has_letters
from heed.models.text.sentences import cut, split_sentences
from heed.models.text.words import Span
from heed.models.tokenizers.protocol import LineTokenizer

if TYPE_CHECKING:
    from pathlib import Path

BATCH_SIZE = 64  # maximum number of sentences decoded together
WINDOW = 32  # batches that are sorted by length together
TURNS = 3  # searches with constraints, each without the words that displaced a term in the one before
WIDER = 2  # factor of the beam size with constraints, because hypotheses that lack more and less share the beam
# Characters that are not seen, and no part of a word: tokenizers take them for spaces, or for what they do not know.
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
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
        glossary: Glossary | None = None,
        whole: Callable[[], Network] | None = None,
        repair: Repair | None = None,
        aligner: Callable[[States], Aligner] | None = None,
    ) -> None:
        self.config = config or DecodeConfig()
        self._language = language
        self.splits = split  # whether sentences are translated separately
        self.workers = workers
        self._states = States(lambda: network, workers)
        self._whole_states = States(whole, workers) if whole else self._states
        super().__init__(self._states, self._whole_states)
        self._start_pool()
        call_in_children(self._start_pool)
        self._repair = repair
        self._glossary = glossary
        self.aligner = aligner(self._whole_states) if aligner else None
        self._src, self._tgt = src_tokenizer, tgt_tokenizer
        n_positions = network.spec.encoder.n_positions if network.spec.encoder else None
        self._longest = LONGEST if n_positions is None else min(LONGEST, n_positions - 1)  # without the end token
        self._context = network.context
        self._known, self._not_known = set[str](), set[str]()  # characters
        self._special = SpecialIds.of(tgt_tokenizer, blank=tgt_tokenizer.blank)

    def _start_pool(self) -> None:
        self._pool = ThreadPool(self.workers)  # starts threads on demand

    def close(self) -> None:
        """See `Model`; also ends the threads."""
        super().close()
        if self.aligner:
            self.aligner.close()
        self._pool.shutdown()
        self._start_pool()  # whose work is told that the model is closed

    @classmethod
    def load(
        cls,
        path: "Path | Sequence[Path]",
        *,
        device: str = "cpu",
        threads: int | None = None,
        shortlist: bool = True,
        split: bool = True,
        glossary: "Path | None" = None,
        aligns: bool = False,
        languages: tuple[str, str] | None = None,
        repair: bool = True,
    ) -> "Translator":
        """Load a bundle, or several as an ensemble, whose log-probabilities are averaged.

        Args:
            path: Its directory, or those of an ensemble. The first one's search settings count. An ensemble has no
                shortlist.
            device: "cpu" or "cuda".
            threads: CPU threads; None: as many as the cores that this process may use.
            shortlist: Decode each line over its likely tokens, if the bundle has a shortlist. Log-probabilities are
                then relative to these tokens; to compare them between lines, use the whole vocabulary.
            split: See the class.
            glossary: A file of required terms; see `Glossary.read`.
            aligns: Whether words will be aligned: for mark-up, or for the caller.
            languages: Of source and target, for a network that is told of them; None: those that the bundle names.
            repair: Search again where a translation lost a number, an address, a code word or a name; see `Repair`.

        Raises:
            DataError: The glossary cannot be used.
            ModelError: A bundle is damaged or of a later format, the vocabularies of an ensemble differ, or the device
                cannot be used.
        """
        from heed.models.bundle.bundle import Bundle, require_one_vocabulary

        with contextlib.ExitStack() as stack:
            paths = path if isinstance(path, Sequence) else [path]
            bundle, *others = (stack.enter_context(Bundle.loading(each)) for each in paths)
            manifest, (src, tgt) = bundle.require("translate"), bundle.tokenizers(languages)
            require_one_vocabulary(bundle, others)
            # Threads that each decode their own batch are faster than threads that share the operators of one.
            workers = threads or available_cores() if device == "cpu" else 1
            shortlist = shortlist and not others and bundle.has_shortlist
            network: Network = bundle.network(device=device, threads=1, shortlist=shortlist)
            whole = functools.partial(bundle.network, device=device, threads=1) if shortlist else None
            if others:
                from heed.models.runtime.ensemble import EnsembleNetwork  # imported here: few need it

                network = EnsembleNetwork([network, *(each.network(device=device, threads=1) for each in others)])
            aligns = bool(glossary or aligns or not shortlist)
            aligner = functools.partial(Aligner.of, bundle, (src, tgt), device) if aligns else None
        return cls(
            network,
            src,
            tgt,
            manifest.decode,
            workers=workers,
            split=split,
            language=manifest.src_language,
            glossary=Glossary.read(glossary, tgt) if glossary else None,
            whole=whole,
            repair=Repair(src, tgt, (manifest.src_language, manifest.tgt_language), searches=repair),
            aligner=aligner,
        )

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
        sources = [[*sentence.tokens, self._src.eos_id] for sentence in chosen]
        results = self._translations(sources, self._search(sources, config, n, batch_size), config)
        if self._glossary:
            texts = [sentence.text for sentence in chosen]
            self._require(self._glossary, texts, sources, results, config, n, batch_size)
        elif self._repair:
            again = functools.partial(self._again, config, n, batch_size)
            self._repair.mend([sentence.text for sentence in chosen], results, again)
        if aligned and self.aligner:
            results = _linked(self.aligner, [sentence.text for sentence in chosen], results)
        found = iter(results)
        combined = [
            combine([(each, next(found) if each.tokens else [each.unchanged()]) for each in line], n)
            for line in sentences
        ]
        if self._glossary:
            for i, line in enumerate(lines):
                if len(sentences[i]) > 1:
                    combined[i] = _tell_parted(self._glossary, line, sentences[i], combined[i])
        return combined

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
        """Where the characters of a text are that the model does not know, with the rest of their words."""
        new = set(INVISIBLE.sub("", text)) - self._known - self._not_known
        self._known |= {character for character in new if self._src.unk_id not in self._src.encode([character])[0]}
        self._not_known |= new - self._known
        if self._not_known.isdisjoint(text):
            return []
        ids, spans = self._src.encode_spans(text)
        found = [
            span for token, span in zip(ids, spans, strict=True) if token == self._src.unk_id and span[0] < span[1]
        ]
        return [
            (start + len(part) - len(part.lstrip()), end) for start, end in found if (part := text[start:end]).strip()
        ]

    def _sentences(self, lines: Sequence[str]) -> list[list[Sentence]]:
        """The sentences of each line, split if they are too long; none for an empty line."""
        pieces = [split_sentences(line, self._language) if self.splits else [line] for line in lines]
        words = [self._readable(piece) for line in pieces for piece in line]
        tokens = iter(self._src.encode(words))
        return [[part for piece in line for part in self._fit(piece, next(tokens))] for line in pieces]

    def _readable(self, piece: str) -> str:
        """What the network reads of a piece; nothing where nothing is to translate."""
        return INVISIBLE.sub("", piece).strip() if self.has_words(piece) else ""

    def _fit(self, piece: str, tokens: list[int]) -> list[Sentence]:
        """A sentence with its white space, in parts of a length that the network can read."""
        words = piece.strip()
        if len(tokens) <= self._longest or len(words) == 1:
            n_before = len(piece) - len(piece.lstrip())
            return [Sentence(words, tokens, piece[:n_before], piece[n_before + len(words) :])]
        parts = list(cut(piece, max(1, len(piece) * self._longest * 3 // 4 // len(tokens))))
        encoded = self._src.encode([self._readable(part) for part in parts])
        return [fitting for part, ids in zip(parts, encoded, strict=True) for fitting in self._fit(part, ids)]

    def _require(
        self,
        glossary: Glossary,
        texts: list[str],
        sources: list[list[int]],
        results: list[list[Translation]],
        config: DecodeConfig,
        n: int,
        batch_size: int,
    ) -> None:
        """Translate again, and with what is asked, where a translation lacks a term.

        A term may then hang on at the end, beside another translation of its word. So that one is refused in the next
        turn, and the turn before counts where that does not help.
        """
        places = [glossary.places(text) for text in texts]

        def displaced(i: int, best: list[Translation]) -> set[int]:
            shares = self.aligner.shares(texts[i], best[0].text) if self.aligner else None
            return set() if shares is None else glossary.displaced(best[0].text, shares, places[i])

        refused = {
            i: displaced(i, best)
            for i, best in enumerate(results)
            if not all(appears(term, each.text) for term in places[i] for each in best)
        }
        lacking = set(refused)
        for turn in range(TURNS if lacking else 0):
            asked = [sources[i] for i in refused]
            requirements = [glossary.requirement(places[i], tokens) for i, tokens in refused.items()]
            found = dict(zip(refused, self._required(asked, requirements, config, n, batch_size), strict=True))
            for i, best in found.items():
                if turn == 0 or all(appears(term, best[0].text) for term in places[i]):
                    results[i] = best
            more = {i: displaced(i, best) - refused[i] for i, best in found.items()}
            refused = {i: refused[i] | tokens for i, tokens in more.items() if tokens}
            if not refused:
                break
        for i in lacking:
            results[i] = [
                dataclasses.replace(each, missing=tuple(term for term in places[i] if not appears(term, each.text)))
                for each in results[i]
            ]

    def _again(
        self,
        config: DecodeConfig,
        n: int,
        batch_size: int,
        texts: Sequence[str],
        phrases: Sequence[Sequence[Phrase]],
    ) -> list[list[Translation]]:
        """Translate some texts, with what is required of each."""
        sources = [[*tokens, self._src.eos_id] for tokens in self._src.encode(list(texts))]
        free = [i for i, each in enumerate(phrases) if not each]
        bound = [i for i, each in enumerate(phrases) if each]
        asked = [sources[i] for i in free]
        found = dict(
            zip(free, self._translations(asked, self._search(asked, config, n, batch_size), config), strict=True)
        )
        requirements = [Requirement(phrases[i], self._tgt.begins_word, self._tgt.bos_id) for i in bound]
        results = self._required([sources[i] for i in bound], requirements, config, n, batch_size)
        found.update(zip(bound, results, strict=True))
        return [found[i] for i in range(len(texts))]

    def _required(
        self,
        sources: list[list[int]],
        requirements: list[Requirement],
        config: DecodeConfig,
        n: int,
        batch_size: int,
    ) -> list[list[Translation]]:
        """The best translations that meet the requirements, from a wider beam."""
        wide = dataclasses.replace(config, beam_size=WIDER * config.beam_size)
        return self._translations(sources, self._search(sources, wide, n, batch_size, requirements), config)

    def _translations(
        self, sources: list[list[int]], hypotheses: list[list[Hypothesis]], config: DecodeConfig
    ) -> list[list[Translation]]:
        """The best hypotheses of each source as text, with loops marked."""
        texts = iter(self._tgt.decode([found.tokens for best in hypotheses for found in best]))
        return [
            [
                Translation(
                    next(texts), each.tokens, each.log_prob, each.score, looped=_loops(each.tokens, source, config)
                )
                for each in best
            ]
            for source, best in zip(sources, hypotheses, strict=True)
        ]

    def _search(
        self,
        sources: list[list[int]],
        config: DecodeConfig,
        n_best: int,
        batch_size: int,
        requirements: list[Requirement] | None = None,
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each source; with requirements, only hypotheses that meet them."""
        # Every idle worker gets a share; the longest batches go first, so that no worker is left with one at the end.
        share = max(1, min(batch_size, -(-len(sources) // self._states.n_free)))
        batches = list(plan_batches([len(source) for source in sources], share))[::-1]
        found: dict[int, list[Hypothesis]] = {}
        searched = self._search_all(sources, batches, config, n_best, requirements)
        for batch, results in zip(batches, searched, strict=True):
            found.update(zip(batch, results, strict=True))
        return [found[i] for i in range(len(sources))]

    def _search_all(
        self,
        sources: list[list[int]],
        batches: list[list[int]],
        config: DecodeConfig,
        n_best: int,
        requirements: list[Requirement] | None,
    ) -> Iterable[list[list[Hypothesis]]]:
        states = self._whole_states if requirements else self._states

        def decode(batch: list[int]) -> list[list[Hypothesis]]:
            required = requirements and [requirements[i] for i in batch]
            with states.borrow() as state:
                chosen = [sources[i] for i in batch]
                return search(
                    state,
                    chosen,
                    config,
                    self._special,
                    n_best=n_best,
                    context=self._context,
                    requirements=required,
                )

        if min(self.workers, len(batches)) <= 1:
            return map(decode, batches)
        return self._pool.map(decode, batches)

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


def _linked(aligner: Aligner, sources: list[str], results: list[list[Translation]]) -> list[list[Translation]]:
    """The translations of each source with links of their words."""
    pairs = [(source, each.text) for source, best in zip(sources, results, strict=True) for each in best]
    found = iter([tuple(links or ()) for links in aligner.links(pairs)] if pairs else [])
    return [[dataclasses.replace(each, links=next(found)) for each in best] for best in results]


def _loops(tokens: list[int], source: list[int], config: DecodeConfig) -> bool:
    """Whether an output repeats a phrase in a loop, or reached the default length limit."""
    endless = config.max_length is None and len(tokens) == len(source) - 1 + ROOM
    return endless or is_loop(tokens, source)


def _tell_parted(
    glossary: Glossary, line: str, sentences: list[Sentence], best: list[Translation]
) -> list[Translation]:
    """Mark missing terms whose words are spread over several sentences of a line."""
    whole = {term for sentence in sentences for term in glossary.find(sentence.text)}
    parted = [term for term in glossary.find(line) if term not in whole]
    return [
        dataclasses.replace(each, missing=each.missing + tuple(term for term in parted if not appears(term, each.text)))
        for each in best
    ]
