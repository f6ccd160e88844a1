"""A glossary: source terms and their required translations."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heed.models.arrays import FloatArray
from heed.models.decoding.constraints import Phrase, Requirement
from heed.models.errors import DataError
from heed.models.text.encoding import other_encoding
from heed.models.text.words import Span, word_spans
from heed.models.tokenizers.protocol import LineTokenizer

TOKEN = re.compile(r"\w+|[^\w\s]")
CLUSTER = re.compile(
    r"[^\u0300-\u036f\u3099\u309a][\u0300-\u036f\u3099\u309a]*|.", re.DOTALL
)  # a letter with its accents
SURE = 0.5  # the share that a term has at least in a word that stands for it
MOST_FORMS = 16  # combinations of forms that are tried for the terms of a sentence
Words = tuple[str, ...]


class Occurrence(NamedTuple):
    """A term in a text."""

    translations: Words  # one of which must appear in the text's translation
    words: tuple[int, ...]  # the numbers of the text's words that it is; see `word_spans`


class Glossary:
    """Terms and their translations.

    A term with a capital letter is case-sensitive, one without is not. Terms match whole words, and the longest match
    at a word wins. A term with several translations may become any of them, so a glossary can list inflected forms.

    Args:
        entries: Pairs of a term and its translation.
        tokenizer: The target tokenizer.
        name: Its name in error messages.

    Raises:
        DataError: An entry has an empty side, or the model has no tokens for a translation; names the entry.
    """

    def __init__(self, entries: list[tuple[str, str]], tokenizer: LineTokenizer, name: str = "glossary") -> None:
        self._tokenizer = tokenizer
        self._translations: dict[Words, list[str]] = {}
        self._forms: dict[str, Phrase] = {}
        for number, (term, translation) in enumerate(entries, start=1):
            if not term or not translation:  # an empty line
                if term or translation:
                    raise DataError(f"{name}: line {number}: the {'term' if translation else 'translation'} is empty")
                continue
            words = split_words(term)
            of_term = self._translations.setdefault(words, [])
            normal = self._add(translation, f"{name}: line {number}")
            if normal not in of_term:
                of_term.append(normal)
        self._longest = max(map(len, self._translations), default=0)

    @classmethod
    def read(cls, path: Path, tokenizer: LineTokenizer) -> "Glossary":
        """Read a file with a term, a tab and its translation on each line; empty lines and further columns are ignored.

        A term alone in its line is not translated: it stays as it is.

        Raises:
            DataError: It cannot be read, or a line is bad; see the class.
        """
        try:
            content = path.read_bytes()
            if wrong := other_encoding(content):
                raise DataError(f"{path}: {wrong}")
            lines = content.decode("utf-8-sig").split("\n")
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            n_before = error.object.count(b"\n", 0, error.start)
            raise DataError(f"{path}: line {n_before + 1} is not UTF-8; convert the file") from None
        entries = []
        for line in lines:
            columns = [column.strip() for column in line.split("\t")]
            entries.append((columns[0], columns[1] if len(columns) > 1 else columns[0]))
        return cls(entries, tokenizer, str(path))

    def _add(self, translation: str, where: str) -> str:
        """Store the tokens of a translation under its normalized form, which is what outputs can contain."""
        (ids,) = self._tokenizer.encode([translation])
        if not ids or self._tokenizer.unk_id in ids:
            raise DataError(f"{where}: the model has no tokens for {translation!r}; change or remove the line")
        (normal,) = self._tokenizer.decode([ids])
        forms = [tuple(ids)]
        if capital(normal) != normal:
            (large,) = self._tokenizer.encode([capital(normal)])
            forms += [(self._tokenizer.bos_id, *large)] * (self._tokenizer.unk_id not in large)
        self._forms[normal] = forms
        return normal

    def find(self, text: str) -> list[Words]:
        """The terms found in a text, each once, as lists of translations, one of which must appear."""
        return list(dict.fromkeys(each.translations for each in self.occurrences(text)))

    def occurrences(self, text: str) -> list[Occurrence]:
        """The terms in a text, in order."""
        written, places = _normal_words(text)
        spans = word_spans(text)
        found = list[Occurrence]()
        for start, words in self._matches(written):
            first, last = places[start][0], places[start + len(words) - 1][1]
            numbers = (number for number, (begin, end) in enumerate(spans) if begin < last and first < end)
            found.append(Occurrence(tuple(self._translations[words]), tuple(numbers)))
        return found

    def _matches(self, written: Words) -> Iterator[tuple[int, Words]]:
        small = tuple(word.lower() for word in written)
        start = 0
        while start < len(written):
            ends = range(min(start + self._longest, len(written)), start, -1)
            candidates = (words[start:end] for end in ends for words in (written, small))
            match = next((words for words in candidates if words in self._translations), None)
            if match:
                yield start, match
            start += len(match or (1,))

    def displaced(self, text: str, shares: FloatArray, occurrences: Sequence[Occurrence]) -> set[int]:
        """The tokens of words that stand in a translation for a term, and are of none of its translations.

        Args:
            text: The translation.
            shares: What each word of the source has of each of its words; see `heed.models.tasks.translation.aligner`.
            occurrences: The terms in the source.
        """
        ids, spans = self._tokenizer.encode_spans(text)
        words, found = word_spans(text), set[int]()
        for translations in dict.fromkeys(each.translations for each in occurrences):
            numbers = [number for each in occurrences if each.translations == translations for number in each.words]
            own = {word for each in translations for word in split_words(each)}
            of_term = np.where([text[slice(*word)] in own for word in words], 0, shares[numbers].sum(axis=0))
            if of_term.max(initial=0) >= SURE:
                start, end = words[int(of_term.argmax())]
                tokens = [token for token, (a, b) in zip(ids, spans, strict=True) if a < end and start < b]
                found.add(max(tokens, key=lambda token: len(self._tokenizer.piece(token))))
        return found

    def in_place(self, text: str, shares: FloatArray, occurrences: Sequence[Occurrence]) -> bool:
        """Whether in a translation each term stands for its own words; the arguments are those of `displaced`."""
        words = word_spans(text)
        for each in occurrences:
            own = {word for translation in each.translations for word in split_words(translation)}
            place = int(shares[list(each.words)].sum(axis=0).argmax())
            if text[slice(*words[place])] not in own | set(map(capital, own)):
                return False
        return True

    def substituted(self, text: str, shares: FloatArray, occurrences: Sequence[Occurrence]) -> list[str]:
        """A translation with the terms in the places of the words that stand for them, in several forms; maybe none.

        Args:
            text: The translation.
            shares: See `displaced`.
            occurrences: The terms in the source.
        """
        words, places = word_spans(text), list[tuple[Span, Words]]()
        for each in occurrences:
            of_term = np.flatnonzero(shares[list(each.words)].sum(axis=0) > SURE)
            if not len(of_term) or of_term[-1] - of_term[0] >= len(of_term):
                return []
            span = words[of_term[0]][0], words[of_term[-1]][1]
            stands = text[slice(*span)]
            forms = (stands,) if appears(each.translations, stands) else each.translations
            places.append((span, forms if span[0] else tuple(map(capital, forms))))
        places.sort()
        return [_replaced(text, places, forms) for forms in islice(product(*(of for _, of in places)), MOST_FORMS)]

    def requirement(self, terms: Iterable[Words], refused: set[int]) -> Requirement:
        """What a search must put out, one translation of each term, and what it must not."""
        phrases = [self._phrase(term) for term in terms]
        return Requirement(phrases, self._tokenizer.begins_word, self._tokenizer.bos_id, refused)

    def _phrase(self, translations: Words) -> Phrase:
        """The tokens of translations, for a search that must produce one of them."""
        return [form for translation in translations for form in self._forms[translation]]


def _normal_words(text: str) -> tuple[Words, list[Span]]:
    """The words of a text as `split_words` gives them, and where each stands in the text."""
    normal, origins = list[str](), list[Span]()
    for cluster in CLUSTER.finditer(text):
        normal.append(unicodedata.normalize("NFKC", cluster[0]))
        origins += [cluster.span()] * len(normal[-1])
    found = list(TOKEN.finditer("".join(normal)))
    return tuple(each[0] for each in found), [(origins[each.start()][0], origins[each.end() - 1][1]) for each in found]


def _replaced(text: str, places: Sequence[tuple[Span, Words]], forms: Sequence[str]) -> str:
    ends = [0, *(end for span, _ in places for end in span), len(text)]
    between = [text[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True)]
    return "".join(part for pair in zip(between, [*forms, ""], strict=True) for part in pair)


def split_words(text: str) -> Words:
    """The words and punctuation marks of a text in Unicode's compatibility form (NFKC)."""
    return tuple(TOKEN.findall(unicodedata.normalize("NFKC", text)))


def appears(translations: Words, text: str) -> bool:
    """Whether one of a term's translations is in a text as whole words; at its beginning possibly capitalized."""
    return any(
        re.search(rf"(?<!\w){re.escape(each)}(?!\w)", text) or re.match(rf"{re.escape(capital(each))}(?!\w)", text)
        for each in translations
    )


def capital(text: str) -> str:
    """A text with a capital letter, as at the beginning of a sentence."""
    return text[:1].upper() + text[1:]
