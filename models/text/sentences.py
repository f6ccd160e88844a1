"""Splitting lines into sentences, and sentences into parts, without changing any character.

The rules are our own, because no library fits: the maintained one that preserves the line (sentencex) aborts on some
texts with a trace on stderr, and pysbd, syntok and sentence-splitter have had no release for years.
"""
# ruff: noqa: RUF001, RUF003, SIM905 - the marks of other scripts are meant; lists of words are read as text

import re
from collections.abc import Iterator

from heed.models.patterns import regex

CLOSERS = "\"'”’“‘»›)\\]}」』）】》〉_*"  # “ and ‘ close a quotation in German; _ and * close emphasis in plain text
WIDE_CLOSERS = CLOSERS.replace("“‘", "")
OPENERS = "「『（【《〈“‘«"
# A run of stops, closing marks and white space; a line or paragraph separator within the text; or a stop of Chinese or
# Japanese, which needs no space.
STOP = regex(
    rf"(?<![.!?…])(?P<marks>[.!?…؟۔।॥։።၊။។]++)(?P<closed>(?:[{CLOSERS}]|[ \u00a0\u202f][»›])*+)\s++"
    r"|[\n\u2028\u2029]\s*+"
    rf"|(?<![。！？｡])[。！？｡]++(?:(?=\S)(?![{WIDE_CLOSERS}])|[{WIDE_CLOSERS}]*+(?:\s++|(?=[{OPENERS}])))"
)
CLAUSE = regex(rf"[,;:–—،؛][{CLOSERS}]*+\s++|[、，；：]")
SPACE = regex(r"\s++")
LAST_WORD = regex(r"[^\s\"'“”„‘’«»‹›()\[\]{}/–—_*]+\Z")
FIRST_WORD = regex(rf"[{OPENERS}\"'(\[„¿¡_*]*([^\W\d_]+)")
REACH = 24  # characters; abbreviations are shorter
CLOSING = set(",;:.!?…)]}»›」』）】")  # these continue the sentence, even after white space

# Abbreviations whose stop does not end a sentence, and which are not words that end sentences in another language.
ABBREVIATIONS = frozenset(
    """
    Mr Mrs Ms Messrs Dr Drs Prof Rev Hon Gen Maj Col Capt Cpt Lt Sgt Cpl Cmdr Adm Gov Sen Rep Supt Insp St Ste Mt Ft
    Hr Fr Frl Dipl Ing Mag Mio Mrd Tsd MM Mme Mlle Mgr Sr Sra Srta Dra Ud Uds Vd Dña Exmo
    mr mrs dr prof vs cf viz al approx incl resp esp dept univ
    bzw ca evtl ggf inkl exkl vgl sog bspw insb zzgl abzgl geb gest jhdt
    sig dott avv dhr mevr drs mgr inż tzw tzn np ul św tj tzv např dvs hhv esim ks проф ул им рис см
    """.split()
)
# Words that are abbreviations if a number follows.
COUNTED = frozenset(
    """
    no nos nr nrn nº n° num art abs bd fig figs abb tab vol vols p pp pg ch chap sec eq ed s str max min
    jan feb mar apr jun jul aug sep sept oct nov dec okt dez
    """.split()
)
# Words that begin a sentence, where a name or a noun would continue it.
STARTERS = frozenset(
    """
    I You He She It We They The This That These Those There Here What When Where Who Why How But And So If My His Her
    Ich Du Er Sie Es Wir Ihr Das Der Die Dies Diese Aber Und Wenn Was Wo Wer Warum Wie Dann Da
    Je Il Elle Nous Vous Ils Elles Mais Et Él Ella Ellos Pero
    """.split()
)
# Languages in which a number and a stop form an ordinal.
ORDINALS = frozenset("bs cs da de et fi fo hr hu is lb lv nb nn no pl sk sl sr tr".split())


def split_sentences(line: str, language: str | None = None) -> list[str]:
    """Split a line into sentences.

    A stop ends a sentence if white space and a possible beginning of a sentence follow. So a line is not split within a
    number or web address, after an abbreviation or an initial, or before a word in lower case.

    Args:
        line: Any text.
        language: Language of the line, such as "de", which decides whether "3." is an ordinal.

    Returns:
        The sentences, each with the white space after it, the first one also with that before it. Joined they equal the
        line; none for an empty line.
    """
    pieces = []
    start = 0
    small = line == line.lower()  # such text also begins sentences in lower case
    end = len(line.rstrip().rstrip(f"{CLOSERS} \u00a0\u202f"))  # closing marks alone are not a sentence
    for stop in STOP.finditer(line, len(line) - len(line.lstrip()), end):
        if stop["marks"] is None or _ends_sentence(line, start, stop, small=small, language=language):
            pieces.append(line[start : stop.end()])
            start = stop.end()
    return [*pieces, line[start:]] if start < len(line) else pieces


def _ends_sentence(line: str, start: int, stop: re.Match[str], *, small: bool, language: str | None) -> bool:
    """Whether the sentence that begins at `start` ends with a stop."""
    following = line[stop.end()]
    if following in CLOSING or (following.islower() and not small):
        return False
    if stop["marks"] != "." or stop["closed"]:
        return True
    before = line[max(start, stop.start() - REACH) : stop.start()]
    found = LAST_WORD.search(before)
    if found is None:
        return True
    return not _goes_on(before, found[0], line, stop.end(), language)


def _goes_on(before: str, word: str, line: str, end: int, language: str | None) -> bool:
    """Whether a word and its stop belong to the following text: an abbreviation, an initial or an ordinal."""
    if word in ABBREVIATIONS or word[:1].lower() + word[1:] in ABBREVIATIONS:
        return True
    if line[end].isdecimal():
        return word.lower() in COUNTED
    if word.isdecimal() and before.strip() == word:  # the number of a list item
        return True
    first = FIRST_WORD.match(line, end)
    if first and first[1] in STARTERS:
        return False
    ordinal = word.isdecimal() and len(word) <= 2 and (language or "")[:2].lower() in ORDINALS
    return ordinal or _is_initial(before, word) or _is_dotted(word)


def _is_initial(before: str, word: str) -> bool:
    """An initial, as in J. R. R. Tolkien, but not as in "so do I"."""
    if len(word) != 1 or not word.isalpha():
        return False
    return word != "I" or not before[:-1].rstrip()[-1:].islower()


def _is_dotted(word: str) -> bool:
    """A dotted abbreviation, such as e.g. or U.S., but not a time or a web address."""
    parts = word.split(".")
    if len(parts) == 1 or word.lower() in ("a.m", "p.m"):
        return False
    return all(part.isalpha() and len(part) <= 3 for part in parts)


def cut(text: str, size: int) -> Iterator[str]:
    """Split a text into parts of at most `size` characters: after a clause, else after a space, else anywhere."""
    start = 0
    while len(text) - start > size:
        earliest, latest = start + (size + 1) // 2, start + size
        for mark in (CLAUSE, SPACE):
            ends = [found.end() for found in mark.finditer(text, earliest, latest)]
            if ends:
                latest = ends[-1]
                break
        yield text[start:latest]
        start = latest
    yield text[start:]
