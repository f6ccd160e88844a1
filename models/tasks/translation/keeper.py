"""A translator that keeps tags, placeholders and characters that its model does not know."""

import dataclasses
import re
from collections.abc import Sequence

from heed.models.decoding.config import DecodeConfig
from heed.models.patterns import regex
from heed.models.tasks.translation.translation import Sentence, Translation, combine
from heed.models.tasks.translation.translator import BATCH_SIZE, Translator
from heed.models.text.markup.inline import StrippedLine, keeps_names, put_back, shown, take_out, written
from heed.models.text.markup.mnemonics import MARK, Mnemonic, take_mnemonic
from heed.models.text.markup.placeholders import ESCAPES, PATTERNS, POSITIONAL, around, find_kept, has_positional
from heed.models.text.markup.tags import parts_sentences, scan
from heed.models.text.markup.units import Splitter, Unit
from heed.models.text.words import Span, overlap

LONGEST = 5000  # characters of a text whose words are aligned all with all; tags nested as deep are no text
TURNS = 3  # ways to name the placeholders of a text, before it is given up
LABEL = regex(r"\s*(?:-\s*)?(\[)(?=[^\W\d])[^\[\]]{1,40}(\])\s+(?=\S)")  # [Note], [door opens]
STOPS = frozenset(".!?\u2026\u3002\uff01\uff1f")  # of sentences; the last three are Chinese and Japanese


class Keeper:
    """Translates lines but copies what matches some patterns.

    Args:
        translator: Translates what is left of a line.
        patterns: Regular expressions, besides mark-up and `PATTERNS` where `tags`.
        tags: Keep mark-up, URLs, e-mail addresses, and what programs fill in.

    Raises:
        re.error: A pattern is not a regular expression.
    """

    def __init__(self, translator: Translator, patterns: Sequence[str], *, tags: bool) -> None:
        self._translator, self._tags = translator, tags
        every = (*patterns, *((*PATTERNS, ESCAPES) if tags else ()))
        self._patterns = [re.compile(pattern, re.DOTALL) for pattern in every]
        self._splitter = Splitter(translator.has_words, translator.unknown)

    def n_best(
        self,
        lines: Sequence[str],
        config: DecodeConfig | None = None,
        n: int = 1,
        *,
        batch_size: int = BATCH_SIZE,
        inside: Sequence[str] | None = None,
        aligned: bool = False,
    ) -> list[list[Translation]]:
        """As `Translator.n_best` does; a translation that could not be given all of what was to be kept says so.

        Args:
            lines: They.
            config: Search settings.
            n: Translations wanted of each.
            batch_size: Sentences decoded together.
            aligned: Link the words; see `Translator.n_best`.
            inside: What mark-up each line stands in from the line before; see `tags.scan`.
        """
        found = [self._take_mnemonic(line, inside[i] if inside else "") for i, line in enumerate(lines)]
        split = [self._units(line, inside[i] if inside else "") for i, (line, _) in enumerate(found)]
        units = [unit for line in split for unit in line if unit.text]
        results = iter(self._translations(units, config, n, batch_size, aligned=aligned))
        combined = [
            combine(
                [
                    (
                        Sentence(each.text, [], each.before, each.after),
                        _choices(each, next(results) if each.text else []),
                    )
                    for each in line
                ],
                n,
            )
            for line in split
        ]
        return [
            [self._with_mnemonic(mnemonic, each) for each in best] if mnemonic else best
            for (_, mnemonic), best in zip(found, combined, strict=True)
        ]

    def _take_mnemonic(self, line: str, inside: str) -> tuple[str, Mnemonic | None]:
        if not self._tags or not MARK.search(line):
            return line, None
        return take_mnemonic(line, self._kept(line, inside))

    def _with_mnemonic(self, mnemonic: Mnemonic, translation: Translation) -> Translation:
        text = mnemonic.put_into(translation.text, self._kept(translation.text))
        return dataclasses.replace(translation, text=text)

    def _kept(self, line: str, inside: str = "") -> list[Span]:
        return self._found(line, scan(line, inside)[0])

    def _found(self, line: str, markup: Sequence[Span]) -> list[Span]:
        patterns = [*self._patterns, POSITIONAL] if self._tags and has_positional(line) else self._patterns
        return find_kept(line, patterns, markup) if patterns else []

    def _unknown_stops(self, line: str, kept: Sequence[Span]) -> list[Span]:
        """What parts sentences and the model has no token for: their ends, and brackets around a label ahead of them.

        They are copied, and must part sentences still.
        """
        unknown = [span for span in self._translator.unknown(line) if not any(overlap(span, each) for each in kept)]
        if not unknown:
            return []
        label = LABEL.match(line)
        brackets = {label.span(1), label.span(2)} if label and line[label.end()].isupper() else set[Span]()
        return [
            span
            for span in unknown
            if (set(line[slice(*span)]) <= STOPS and not line[span[1] : span[1] + 1].strip())
            or (span in brackets and brackets <= set(unknown))
        ]

    def _units(self, line: str, inside: str) -> list[Unit]:
        markup = scan(line, inside)[0] if self._tags else []
        kept = self._found(line, markup)
        marked = set(markup)
        bounds = [span for span in kept if _is_bound(line[slice(*span)], tags=span in marked)]
        if self._translator.splits:
            bounds = sorted([*bounds, *self._unknown_stops(line, kept)])
        within = set(bounds)
        return self._splitter.split(line, [span for span in kept if span not in within], bounds, escaped=self._tags)

    def _translations(
        self, units: Sequence[Unit], config: DecodeConfig | None, n: int, batch_size: int, *, aligned: bool
    ) -> list[list[Translation]]:
        found: dict[int, list[Translation]] = {}
        plain = [i for i, unit in enumerate(units) if not unit.kept and not unit.escaped]
        waiting = [i for i, unit in enumerate(units) if unit.kept or unit.escaped]
        short = [i for i in waiting if len(units[i].text) <= LONGEST]
        for turn in range(TURNS):
            marked = {i: taken for i in short if (taken := _taken_out(units[i], turn))}
            asked = [*plain, *marked] if turn == 0 else list(marked)
            texts = [marked[i].text if i in marked else units[i].text for i in asked]
            results = self._translator.n_best(texts, config, n, batch_size=batch_size, aligned=aligned)
            for i, best in zip(asked, results, strict=True):
                whole = best if i not in marked else self._put_back(marked[i], best)
                if aligned and i in marked:  # what was put back has moved the words
                    whole = self._linked(units[i].text, whole)
                if whole:
                    found[i] = whole
            short = [i for i in short if i not in found]
            if not short:
                break
        for i in waiting:
            if i not in found:
                found[i] = [self._apart(units[i], config, batch_size)]
        return [found[i] for i in range(len(units))]

    def _put_back(self, marked: StrippedLine, best: Sequence[Translation]) -> list[Translation]:
        """The translations that contain the names, with the protected text put back."""
        found = []
        for translation in best:
            if keeps_names(marked, translation.text):
                aligner = self._translator.aligner if marked.marks else None
                shares = aligner.shares(marked.text, translation.text) if aligner else None
                text = put_back(marked, translation.text, shares)
                pieces = self._translator.pieces(translation.tokens)
                repaired, lost = (tuple(map(marked.filled, told)) for told in (translation.repaired, translation.lost))
                names = shown(pieces, marked.names)
                found.append(dataclasses.replace(translation, text=text, shown=names, repaired=repaired, lost=lost))
        return found

    def _linked(self, source: str, best: Sequence[Translation]) -> list[Translation]:
        """Translations with the links of their words, as far as there is an aligner."""
        aligner = self._translator.aligner
        found = aligner.links([(source, each.text) for each in best]) if aligner and best else []
        pairs = zip(best, found, strict=False)
        return [dataclasses.replace(each, links=tuple(links or ())) for each, links in pairs] or list(best)

    def _apart(self, unit: Unit, config: DecodeConfig | None, batch_size: int) -> Translation:
        """A text whose placeholders have no names that stay: what is between them is translated by itself."""
        pieces = [_edges(piece) for piece in around(unit.text, unit.kept)]
        between = self._translator.translate([words for _, words, _ in pieces], config, batch_size=batch_size)
        filled = StrippedLine("", [], {}, unit.escaped).filled
        parts = zip(pieces, between, strict=True)
        texts = [filled(before + _as_part(words, each.text) + after) for (before, words, after), each in parts]
        placeholders = [*(written(unit.text, span, unit.raw, escaped=unit.escaped) for span in unit.kept), ""]
        return Translation(
            text="".join(part for pair in zip(texts, placeholders, strict=True) for part in pair),
            tokens=[token for each in between for token in each.tokens],
            log_prob=sum(each.log_prob for each in between),
            score=sum(each.score for each in between),
            missing=tuple(term for each in between for term in each.missing),
            looped=any(each.looped for each in between),
            apart=True,
        )


def _is_bound(kept: str, *, tags: bool) -> bool:
    return parts_sentences(kept) if tags else re.fullmatch(ESCAPES, kept) is not None


def _choices(unit: Unit, best: list[Translation]) -> list[Translation]:
    """The translations of a unit, with what of it the model does not know."""
    if not unit.text:
        return [Translation("", [], 0.0, 0.0, copied=unit.copied)]
    return [dataclasses.replace(each, copied=unit.copied) for each in best] if unit.copied else best


def _taken_out(unit: Unit, turn: int) -> StrippedLine | None:
    return take_out(unit.text, unit.kept, turn, symbols=unit.symbols, escaped=unit.escaped, raw=unit.raw)


def _edges(piece: str) -> tuple[str, str, str]:
    """What is before the first word of a part of a sentence, from it to the last one with its stop, and after it."""
    words = [match.span() for match in re.finditer(r"\w+[.!?]*", piece)]
    start, end = (words[0][0], words[-1][1]) if words else (0, 0)
    return piece[:start], piece[start:end], piece[end:]


def _as_part(source: str, translation: str) -> str:
    """A translation of a part of a sentence, without a stop that the part does not have."""
    return translation if source.endswith((".", "!", "?")) else re.sub(r"(?<=\w)[.!?]\Z", "", translation)
