"""What a run keeps of the imported model that it began with, besides its weights and its tokenizer's files."""

import dataclasses
import json
from pathlib import Path
from typing import Self

from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.tables import from_table, to_table
from heed.models.text.chat import ChatTemplate

FILE = "import.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportRecord:
    """How an imported model reads, decodes and converses, whatever it learns further."""

    conventions: Conventions
    decode: DecodeConfig
    origin: str  # what was imported
    chat_template: ChatTemplate | None = None

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The record of a run; None: the run began with a network of heed's own.

        Raises:
            ModelError: It is damaged.
        """
        path = directory / FILE
        if not path.exists():
            return None
        try:
            table = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ModelError(f"{path}: damaged ({error}); restore it, or train again") from None
        return from_table(cls, table, str(path))

    def write(self, directory: Path) -> None:
        """Write the record of a run."""
        text = json.dumps(to_table(self), indent=2, ensure_ascii=False)
        (directory / FILE).write_text(text + "\n", "utf-8")
