"""The special tokens of an imported model, which its tokenizers share."""

import hashlib
import json
from functools import cached_property

from heed.models.spec.conventions import Conventions
from heed.models.spec.tables import to_table


class ConventionalTokenizer:
    """Special tokens by a model's conventions.

    Args:
        conventions: Of the model, for the languages that are translated.
        content: The files of the tokenizer.
    """

    def __init__(self, conventions: Conventions, *content: bytes) -> None:
        self._content = content
        self.pad_id, self.bos_id, self.eos_id = conventions.pad_id, conventions.start_id, conventions.eos_id
        self.ends, self.forced, self.suppressed = conventions.ends, conventions.forced, conventions.suppressed
        self.starts_texts = conventions.starts_texts
        self._conventions = conventions

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that token ids depend on, hexadecimal."""
        parts = [hashlib.sha256(part).hexdigest() for part in self._content]
        return hashlib.sha256(json.dumps([parts, to_table(self._conventions)]).encode()).hexdigest()

    def _framed(self, texts: list[str], encoded: list[list[int]]) -> list[list[int]]:
        """The tokens of sources with those that sources begin with; none for a text of white space."""
        before = list(self._conventions.before)
        return [before + ids if text.strip() else [] for text, ids in zip(texts, encoded, strict=True)]

    def _prefixed(self, text: str) -> str:
        """A source with the text that sources begin with."""
        return (self._conventions.prefix or "") + text
