"""Learning a SentencePiece vocabulary (section 5.1: byte-pair encoding, shared by source and target)."""

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece

from heed.models.errors import DataError
from heed.models.tokenizers.lossless import SPACE
from heed.models.tokenizers.subwords import Tokenizer

# Options of a lossless vocabulary: no normalization, byte fallback for unknown characters, newlines as pieces.
VERBATIM: dict[str, Any] = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "byte_fallback": True,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,  # for the indentation of programs
    "user_defined_symbols": ["\n"],
    "required_chars": SPACE,  # even without any in the text; its bytes would mean the character itself
    "max_sentence_length": 1 << 16,  # bytes; longer lines are split, because SentencePiece would ignore them
}
LONGEST = VERBATIM["max_sentence_length"] // 4  # characters have at most 4 bytes


def train_tokenizer(lines: Iterable[str], *, vocab_size: int, name: str, verbatim: bool = False) -> Tokenizer:
    """Learn a byte-pair vocabulary.

    Args:
        lines: The text.
        vocab_size: Number of pieces, including special ones.
        name: Name of the text in error messages.
        verbatim: Make a lossless vocabulary, without SentencePiece's normalization (NFKC).

    Raises:
        DataError: The text is too small for the vocabulary.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(_cut(lines) if verbatim else iter(lines)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=0.9999 if verbatim else 1.0,  # share of the text's characters; the others have bytes
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
            **(VERBATIM if verbatim else {}),
        )
    except RuntimeError as error:
        raise DataError(_explain(str(error), vocab_size, name)) from None
    return Tokenizer(model.getvalue(), f"the tokenizer of {name}")


def _cut(lines: Iterable[str]) -> Iterator[str]:
    return (line[start : start + LONGEST] for line in lines for start in range(0, len(line), LONGEST))


def _explain(error: str, vocab_size: int, name: str) -> str:
    """SentencePiece's error as a message that names the option."""
    if limit := re.search(r"value <= (\d+)", error):
        return f"{name}: the text supports a vocabulary of at most {limit[1]}; give --vocab-size {limit[1]} or less"
    if limit := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return (
            f"{name}: a vocabulary of {vocab_size} is smaller than the {limit[1]} pieces that all characters need; "
            f"give --vocab-size {limit[1]} or more"
        )
    return f"{name}: cannot learn a vocabulary of {vocab_size} pieces ({error.strip()}); try another --vocab-size"
