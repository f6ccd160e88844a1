"""The special tokens of an imported model, which its tokenizers share."""

from heed.models.spec.conventions import Conventions


class ConventionalTokenizer:
    """Special tokens by a model's conventions.

    Args:
        conventions: Of the model, for the languages that are translated.
    """

    def __init__(self, conventions: Conventions) -> None:
        self.pad_id, self.bos_id, self.eos_id = conventions.pad_id, conventions.start_id, conventions.eos_id
        self.ends, self.forced, self.suppressed = conventions.ends, conventions.forced, conventions.suppressed
        self.starts_texts = conventions.starts_texts
        self._conventions = conventions

    def _framed(self, texts: list[str], encoded: list[list[int]]) -> list[list[int]]:
        """The tokens of sources with those that sources begin with; none for a text of white space."""
        before = list(self._conventions.before)
        return [before + ids if text.strip() else [] for text, ids in zip(texts, encoded, strict=True)]

    def _prefixed(self, text: str) -> str:
        """A source with the text that sources begin with."""
        return (self._conventions.prefix or "") + text
