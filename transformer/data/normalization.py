"""How a vocabulary normalizes text: what other forms of characters it takes for one, and what it learns verbatim."""

import functools
import unicodedata
from collections.abc import Iterator

import sentencepiece

SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"  # what ends a line for somebody, or a column
LAST = 0x30000  # no character from here on is composed


@functools.cache
def normalizer(normalization: str) -> sentencepiece.SentencePieceNormalizer:
    """What normalizes in one of two ways; spaces stay as they are.

    "nfkc" is SentencePiece's own: one form for all compatible characters, as full-width letters and ligatures, and
    three points for "…". "nfc" leaves a text as it is, but that an accent is part of its letter and that a line end
    within it is a space.
    """
    sentencepiece.set_min_log_level(2)  # errors: it tells on stderr how it compiles them
    how = {"norm_map": sorted(_canonical_forms().items())} if normalization == "nfc" else {"rule_name": "nmt_nfkc"}
    return sentencepiece.SentencePieceNormalizer(
        **how, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
    )


def _canonical_forms() -> dict[str, str]:
    """Unicode's canonical composition (NFC), written out, with spaces for line ends."""
    forms = dict.fromkeys(SPACES, " ")
    for character in map(chr, range(LAST)):
        if "\ud800" <= character <= "\udfff":
            continue
        composed = unicodedata.normalize("NFC", character)
        forms |= {form: composed for form in _decompositions(character) if form != composed}
    return forms


def _decompositions(character: str) -> Iterator[str]:
    """All ways to write a character: as it is, taken apart, and with some of its accents apart."""
    apart = unicodedata.normalize("NFD", character)
    if apart != character:
        yield character
        for end in range(1, len(apart) + 1):
            yield unicodedata.normalize("NFC", apart[:end]) + apart[end:]
        yield apart
