"""Output formats for a record's translations."""

import json
from collections.abc import Callable, Sequence

from heed.cli.io.records import Record
from heed.models.tasks.translation.doubts import doubts
from heed.models.tasks.translation.translation import Translation

Pieces = Callable[[list[int]], list[str]]
Best = Sequence[Sequence[Translation]]  # of each text of a record, best first
Result = Callable[[int, Record, Best], bytes]


def filled(_: int, record: Record, found: Best) -> bytes:
    """The record with its translations."""
    return record.filled(*(best[0].text for best in found))


def moses(number: int, _: Record, found: Best) -> bytes:
    """Moses' n-best list: a line for each translation, with the number of its source, counted from 0."""
    (best,) = found
    return "".join(f"{number} ||| {_one_line(each.text)} ||| {each.score:.6f}\n" for each in best).encode()


def aligned(_: int, record: Record, found: Best) -> bytes:
    """The record with its translation, and Pharaoh's pairs of words after " ||| ", as Marian writes them."""
    ((best, *_others),) = found
    return record.filled(f"{best.text} ||| {pharaoh(best.word_pairs(record.words))}")


def aligned_moses(number: int, record: Record, found: Best) -> bytes:
    """Moses' n-best list with the pairs of words as its last field."""
    lines = moses(number, record, found).decode().splitlines()
    pairs = [pharaoh(each.word_pairs(record.words)) for each in found[0]]
    return "".join(f"{line} ||| {of_line}\n" for line, of_line in zip(lines, pairs, strict=True)).encode()


def pharaoh(pairs: Sequence[tuple[int, int]]) -> str:
    """Pairs of word numbers, such as "0-0 1-2"."""
    return " ".join(f"{i}-{j}" for i, j in pairs)


def json_object(pieces: Pieces, n_best: int, *, alignments: bool = False) -> Result:
    """JSON: source, translation, score, confidence, doubts and tokens, and if requested alignment and alternatives."""

    def translation(found: Translation, source: str) -> dict[str, object]:
        pairs = {"alignment": found.word_pairs(source)} if alignments else {}
        return {
            "translation": _one_line(found.text),
            "score": round(found.score, 6),
            "confidence": round(found.confidence, 4),
            "doubts": doubts(found),
            "tokens": _tokens(pieces(found.tokens), found),
            **pairs,
        }

    def write(_: int, record: Record, found: Best) -> bytes:
        ((best, *others),) = found
        result = {"source": record.words} | translation(best, record.words)
        if n_best > 1:
            result["alternatives"] = [translation(each, record.words) for each in others]
        return json.dumps(result, ensure_ascii=False).encode() + b"\n"

    return write


def _tokens(pieces: list[str], found: Translation) -> list[str]:
    """The tokens, with placeholders in the place of what stood for them."""
    texts = (found.shown.get(number, piece) for number, piece in enumerate(pieces))
    return [text for text in texts if text]


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
