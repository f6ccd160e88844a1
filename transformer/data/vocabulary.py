"""Training a SentencePiece model (section 5.1: byte-pair encoding, shared by source and target)."""

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece

from heed.models.errors import DataError
from heed.models.tokenizers.lossless import SPACE
from heed.models.tokenizers.subwords import Tokenizer

# What gives every text back as it was: no normalization, bytes for characters that have no piece, newlines as pieces.
VERBATIM: dict[str, Any] = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "byte_fallback": True,
    "allow_whitespace_only_pieces": True,  # for the indentation of programs
    "user_defined_symbols": ["\n"],
    "required_chars": SPACE,  # also of a text without any; in bytes, it could not be told from the character itself
    "max_sentence_length": 1 << 16,  # bytes; longer lines are cut, for SentencePiece would leave them out
}
LONGEST = VERBATIM["max_sentence_length"] // 4  # characters, which have 4 bytes at most


def train_tokenizer(lines: Iterable[str], *, vocab_size: int, name: str, verbatim: bool = False) -> Tokenizer:
    """Learn a byte-pair vocabulary.

    Args:
        lines: The text.
        vocab_size: Pieces, special ones included.
        name: What the text is called in errors.
        verbatim: Give every text back as it was, and not as SentencePiece normalizes it (NFKC).

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
            character_coverage=0.9999 if verbatim else 1.0,  # of the text's characters; the others' bytes are there
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
            split_digits=True,  # a number is copied digit by digit, and none is rare
            **(VERBATIM if verbatim else {}),
        )
    except RuntimeError as error:
        raise DataError(_explain(str(error), vocab_size, name)) from None
    return Tokenizer(model.getvalue(), f"the tokenizer of {name}")


def _cut(lines: Iterable[str]) -> Iterator[str]:
    return (line[start : start + LONGEST] for line in lines for start in range(0, len(line), LONGEST))


def _explain(error: str, vocab_size: int, name: str) -> str:
    """SentencePiece's complaint in words that name the option."""
    if limit := re.search(r"value <= (\d+)", error):
        return f"{name}: the text supports a vocabulary of at most {limit[1]}; give --vocab-size {limit[1]} or less"
    if limit := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return (
            f"{name}: a vocabulary of {vocab_size} is smaller than the {limit[1]} pieces that all characters need; "
            f"give --vocab-size {limit[1]} or more"
        )
    return f"{name}: no vocabulary of {vocab_size} could be learnt ({error.strip()}); try another --vocab-size"
