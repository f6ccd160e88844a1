"""A translator that keeps mark-up and placeholders as they are."""

import dataclasses
import re
from collections.abc import Sequence

from heed.models.decoding.alignment import Span
from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translation import Translation
from heed.models.tasks.translator import BATCH_SIZE, Translator
from heed.models.text.markup import PATTERNS, Marked, around, find_kept, keeps_names, put_back, take_out

LONGEST = 5000  # characters of a line whose words are aligned all with all; tags nested as deep are no text
TURNS = 3  # ways to name the placeholders of a line, before it is given up


class Keeper:
    """Translates lines by a translator, and what matches some patterns not at all.

    Args:
        translator: Translates what is left of a line.
        patterns: Regular expressions, besides `PATTERNS` where `tags`.
        tags: Keep mark-up, URLs, e-mail addresses, what stands in braces, and what printf takes.

    Raises:
        re.error: A pattern is no regular expression.
    """

    def __init__(self, translator: Translator, patterns: Sequence[str], *, tags: bool) -> None:
        self._translator = translator
        self._patterns = [re.compile(pattern, re.DOTALL) for pattern in (*patterns, *(PATTERNS if tags else ()))]

    def n_best(
        self, lines: Sequence[str], config: DecodeConfig | None = None, n: int = 1, *, batch_size: int = BATCH_SIZE
    ) -> list[list[Translation]]:
        """As `Translator.n_best` does; a translation that could not be given all of what was to be kept says so."""
        found: dict[int, list[Translation]] = {}
        kept = {i: spans for i, line in enumerate(lines) if (spans := find_kept(line, self._patterns))}
        plain = [i for i in range(len(lines)) if i not in kept]
        for i, spans in kept.items():
            if not any(re.search(r"\w", text) for text in around(lines[i], spans)):  # all of it is kept
                found[i] = [Translation(lines[i], [], 0.0, 0.0)]
            elif len(lines[i]) > LONGEST:
                found[i] = [self._apart(lines[i], spans, config, batch_size)]
        waiting = [i for i in kept if i not in found]
        for turn in range(TURNS):
            marked = {i: taken for i in waiting if (taken := take_out(lines[i], kept[i], turn))}
            asked = [*plain, *marked] if turn == 0 else list(marked)
            texts = [marked[i].text if i in marked else lines[i] for i in asked]
            results = self._translator.n_best(texts, config, n, batch_size=batch_size)
            for i, best in zip(asked, results, strict=True):
                whole = best if i not in marked else self._put_back(marked[i], best)
                if whole:
                    found[i] = whole
            waiting = [i for i in waiting if i not in found]
            if not waiting:
                break
        for i in waiting:
            found[i] = [self._apart(lines[i], kept[i], config, batch_size)]
        return [found[i] for i in range(len(lines))]

    def _put_back(self, marked: Marked, best: Sequence[Translation]) -> list[Translation]:
        """The translations that have the names, with what was taken out."""
        found = []
        for translation in best:
            if keeps_names(marked, translation.text):
                shares = self._translator.shares(marked.text, translation.text) if marked.marks else None
                found.append(dataclasses.replace(translation, text=put_back(marked, translation.text, shares)))
        return found

    def _apart(self, line: str, kept: Sequence[Span], config: DecodeConfig | None, batch_size: int) -> Translation:
        """A line whose placeholders have no names that stay: what is between them is translated by itself."""
        between = self._translator.translate(around(line, kept), config, batch_size=batch_size)
        pieces = [*(line[slice(*span)] for span in kept), ""]
        texts = [text for each, piece in zip(between, pieces, strict=True) for text in (each.text, piece)]
        return Translation(
            text="".join(texts),
            tokens=[token for each in between for token in each.tokens],
            log_prob=sum(each.log_prob for each in between),
            score=sum(each.score for each in between),
            missing=tuple(term for each in between for term in each.missing),
            apart=True,
        )
