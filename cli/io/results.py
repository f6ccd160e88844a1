"""What is written of a record's translations."""

import json
from collections.abc import Callable, Sequence

from heed.cli.io.records import Record
from heed.models.tasks.doubts import doubts
from heed.models.tasks.translation import Translation

Pieces = Callable[[list[int]], list[str]]
Result = Callable[[int, Record, Sequence[Translation]], bytes]


def line(_: int, record: Record, found: Sequence[Translation]) -> bytes:
    """The record's line with its translation."""
    return record.filled(found[0].text)


def moses(number: int, _: Record, found: Sequence[Translation]) -> bytes:
    """Moses' list of the best: a line for each, with the number of its source, counted from 0."""
    return "".join(f"{number} ||| {_one_line(each.text)} ||| {each.score:.6f}\n" for each in found).encode()


def json_object(pieces: Pieces, n_best: int) -> Result:
    """Makes an object of what `translation` gives for the best, with its source, and of the alternatives if wanted."""

    def translation(found: Translation) -> dict[str, object]:
        return {
            "translation": _one_line(found.text),
            "score": round(found.score, 6),
            "confidence": round(found.confidence, 4),
            "doubts": doubts(found),
            "tokens": _tokens(pieces(found.tokens), found),
        }

    def write(_: int, record: Record, found: Sequence[Translation]) -> bytes:
        result = {"source": record.words} | translation(found[0])
        if n_best > 1:
            result["alternatives"] = [translation(each) for each in found[1:]]
        return json.dumps(result, ensure_ascii=False).encode() + b"\n"

    return write


def _tokens(pieces: list[str], found: Translation) -> list[str]:
    """The tokens, with placeholders in the place of what stood for them."""
    texts = (found.shown.get(number, piece) for number, piece in enumerate(pieces))
    return [text for text in texts if text]


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
