"""gettext's catalogues (.po, .pot): msgid becomes msgstr."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from heed.cli.io.formats.document import Segment
from heed.cli.io.formats.gettext import directives, plurals
from heed.cli.io.formats.gettext.entries import Entry, Span, read_entries, written
from heed.cli.io.formats.marks import MarkedText, Piece, PieceKind

CHARSET = re.compile(rb"Content-Type:[^\"\\]*charset=([\w.:-]+)", re.IGNORECASE)


class Catalogue:
    """The grammar.

    Args:
        language: Of the translations, for plural forms where the catalogue does not tell.
        everything: Translate again what has a translation, or is fuzzy.
    """

    def __init__(self, language: str, *, everything: bool) -> None:
        self._language, self._everything = language, everything
        self._charset = "utf-8"
        self._plurals: plurals.Plurals | None = None
        self._troubles = Counter[str]()

    def charset(self, data: bytes) -> str:
        """See `Grammar`."""
        declared = CHARSET.search(data)
        if declared and declared[1] != b"CHARSET":  # as a template has it
            self._charset = declared[1].decode()
        return self._charset

    def warnings(self) -> list[str]:
        """See `Grammar`."""
        words = {
            "fuzzy": "translations lack a placeholder of their msgid, or have another, and are marked fuzzy",
            "unwritable": f"entries were left out: {self._charset} has no such characters; first msgconv -t UTF-8",
            "forms": "entries were left out: the header tells no plural forms; add Plural-Forms to it",
        }
        return [f"{n} {words[trouble]}" for trouble, n in self._troubles.items()]

    def segments(self, text: str) -> Iterator[Segment]:
        """See `Grammar`: a segment is an entry."""
        for entry in read_entries(text):
            if entry.is_header:
                yield from self._header(text, entry)
            elif self._everything or not ("fuzzy" in entry.flags or any(entry.msgstrs)):
                yield self._entry(text, entry)

    def _header(self, text: str, entry: Entry) -> Iterator[Segment]:
        """Read the plural forms, and fill in what a template leaves open."""
        known = plurals.of_language(self._language)
        told = plurals.HEADER.search(entry.msgstrs[0]) or plurals.HEADER.search(known or "")
        self._plurals = plurals.Plurals(told[0]) if told else None
        body = text[entry.body : entry.end]
        filled = body.replace("charset=CHARSET", "charset=UTF-8")
        if self._language:
            filled = re.sub(r'"Language: *\\n"', lambda _: f'"Language: {self._language}\\n"', filled)
        if known:
            filled = filled.replace("nplurals=INTEGER; plural=EXPRESSION;", known)
        if filled != body:
            yield Segment(entry.body, entry.end, (), lambda: filled)

    def _entry(self, text: str, entry: Entry) -> Segment:
        form = directives.pattern_of(entry.flags)
        marked = [MarkedText(list(_pieces(source, form and form[1]))) for source in entry.sources]

        def fill(*translations: str) -> str:
            found = iter(translations)
            texts = [
                _like(source, each.restored(next(found)) if each.translatable else source)
                for source, each in zip(entry.sources, marked, strict=True)
            ]
            return self._filled(text, entry, form[0] if form else "", texts)

        return Segment(entry.head, entry.end, tuple(each.text for each in marked if each.translatable), fill)

    def _filled(self, text: str, entry: Entry, form: str, translations: Sequence[str]) -> str:
        """An entry with translations of its sources; as it was, where they cannot be written."""
        forms = self._forms(entry, form, translations)
        trouble = "" if forms else "forms"
        try:
            "".join(translations).encode(self._charset)
        except UnicodeEncodeError:
            trouble = "unwritable"
        if trouble:
            self._troubles[trouble] += 1
            return text[entry.head : entry.end]
        newline = "\r\n" if "\r\n" in text else "\n"
        fuzzy = not all(good for _, _, good in forms)
        self._troubles += Counter(fuzzy=fuzzy)
        wrapped = "no-wrap" not in entry.flags
        lines = [written(keyword, each, newline, wrapped=wrapped) for keyword, each, _ in forms]
        return _head(text, entry, newline, fuzzy=fuzzy) + newline.join(lines)

    def _forms(self, entry: Entry, form: str, translations: Sequence[str]) -> list[tuple[str, str, bool]]:
        """The keywords, their translations, and whether each has its placeholders; none where they are not known."""
        if len(translations) == 1:
            translation = directives.mend_order(form, entry.sources[0], translations[0])
            return [("msgstr", translation, directives.keeps(form, entry.sources[0], translation))]
        if self._plurals is None:
            return []
        singular, plural = (
            directives.mend_order(form, *pair) for pair in zip(entry.sources, translations, strict=True)
        )
        found = []
        for number in range(self._plurals.n_forms):
            may_omit = self._plurals.is_one_alone(number)
            fits = directives.keeps(form, entry.sources[1], singular, may_omit=may_omit)
            text = singular if self._plurals.is_singular(number) and (may_omit or fits) else plural
            good = directives.keeps(form, entry.sources[1], text, may_omit=may_omit)
            found.append((f"msgstr[{number}]", text, good))
        return found


def _pieces(source: str, form: re.Pattern[str] | None) -> Iterator[Piece]:
    here = 0
    for match in form.finditer(source) if form else ():
        yield Piece(PieceKind.TEXT, source[here : match.start()], source[here : match.start()])
        yield Piece(PieceKind.WORD, match[0])
        here = match.end()
    yield Piece(PieceKind.TEXT, source[here:], source[here:])


def _like(source: str, translation: str) -> str:
    """A translation that begins and ends with a newline where its source does, as gettext wants it."""
    text = translation.strip("\n")
    return "\n" * source.startswith("\n") + text + "\n" * (source.endswith("\n") and source != "\n")


def _head(text: str, entry: Entry, newline: str, *, fuzzy: bool) -> str:
    """An entry up to its translations, with or without the flag, and without what it was before if it was fuzzy."""
    flags = [flag for flag in entry.flags if flag != "fuzzy"]
    if fuzzy == ("fuzzy" in entry.flags):
        return text[entry.head : entry.body]
    first = f"#, {', '.join(['fuzzy'] * fuzzy + flags)}{newline}" if fuzzy or flags else ""
    dropped = entry.flag_lines + entry.previous * (not fuzzy)
    return first + _without(text, (entry.head, entry.body), sorted(dropped))


def _without(text: str, span: Span, dropped: Sequence[Span]) -> str:
    """A part of a text without some lines of it."""
    ends = [span[0], *(end for each in dropped for end in each), span[1]]
    return "".join(text[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True))
