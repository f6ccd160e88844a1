"""The files of a bundle's tokenizers, by name: what is known of them before one is read."""

from pathlib import Path

from heed.models.spec.conventions import Conventions

# SentencePiece models: one joint, or source and target.
JOINT, SEPARATE = "tokenizer.model", ("tokenizer.src.model", "tokenizer.tgt.model")
VOCABULARY = "vocabulary.json"  # beside them, if the network's ids are others: a list of pieces, by their ids
FILE = "tokenizer.json"  # of the library `tokenizers`
SIDES = ("src", "tgt")


def file_names(directory: Path, conventions: Conventions | None) -> tuple[str, ...]:
    """The names of a bundle's files of tokenizers."""
    if conventions is None:
        return model_files(directory)
    if conventions.tokenizer == "library":
        return (FILE,)
    models = model_files(directory)
    return models if conventions.tokenizer == "sentencepiece" else models + vocabularies(directory)


def model_files(directory: Path) -> tuple[str, ...]:
    """The names of the SentencePiece models in a directory."""
    return (JOINT,) if (directory / JOINT).exists() else SEPARATE


def vocabularies(directory: Path) -> tuple[str, ...]:
    """The names of the lists of pieces in a directory."""
    if (directory / VOCABULARY).exists():
        return (VOCABULARY,)
    return tuple(VOCABULARY.replace(".", f".{side}.") for side in SIDES)
