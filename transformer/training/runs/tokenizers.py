"""The tokenizers of a run, in its directory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers import loading
from heed.models.tokenizers.protocol import LineTokenizer, PlainTokenizer
from heed.models.tokenizers.subwords import load_tokenizers
from heed.transformer.training.runs.import_record import ImportRecord
from heed.transformer.training.runs.settings import TranslationConfig


def read_tokenizers(
    directory: Path, spec: NetworkSpec, train: TranslationConfig, imported: ImportRecord | None
) -> tuple[LineTokenizer, LineTokenizer]:
    """The source and target tokenizers in a directory.

    Raises:
        ModelError: One is missing or damaged, or an imported network knows no language of that name.
    """
    if imported is None:
        return load_tokenizers(directory)
    languages = train.src_language, train.tgt_language
    with restorable():
        return loading.line_tokenizers(directory, spec, imported.conventions, languages, training=True)


def read_text_tokenizer(directory: Path, spec: NetworkSpec, imported: ImportRecord | None) -> PlainTokenizer:
    """The tokenizer of a language model in a directory.

    Raises:
        ModelError: It is missing or damaged.
    """
    with restorable():
        return loading.text_tokenizer(directory, spec, imported.conventions if imported else None)


def write_tokenizers(aside: Path, files: Mapping[str, bytes], imported: ImportRecord | None) -> None:
    """Write the files of the tokenizers, and what is kept of an imported model."""
    if imported:
        imported.write(aside)
    for name, content in files.items():
        (aside / name).write_bytes(content)


@contextmanager
def restorable() -> Iterator[None]:
    """Add what to do to the error of an unreadable file."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}; restore it, or train again") from None
