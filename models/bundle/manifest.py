"""A bundle's manifest, `heed.json`: what the model is, its files, and how it was proved."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec.config import DataclassInstance, LanguageModelConfig, ModelConfig, from_table
from heed.models.text.chat import ChatTemplate

FORMAT = 2  # of a bundle; a later one is refused
FILE_NAME = "heed.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a file must be."""

    size: int  # bytes
    sha256: str  # hexadecimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """How the bundle compares with the network it was exported from, in float32, on the same sentences."""

    sentences: int
    greedy_identical: int  # sentences whose greedy translations have the same tokens
    beam_identical: int  # sentences whose translations by beam search have the same tokens
    beam_size: int
    log_prob_difference: float  # largest difference of any token's log-probability, teacher-forced
    loss_torch: float  # mean negative log-likelihood of the references' tokens, in nats
    loss_bundle: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """How good the translations of a test set are."""

    test_set: str
    sentences: int
    beam_size: int
    bleu: float
    chrf: float
    bleu_torch: float  # of the network before the export, in float32
    bleu_whole: float | None  # over the whole vocabulary; None: the bundle has no shortlist
    bleu_signature: str
    chrf_signature: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextParity:
    """How a language model's bundle compares with the network it was exported from, in float32, on the same text."""

    texts: int
    tokens: int
    greedy_identical: int  # texts whose beginnings both go on with by the same tokens
    log_prob_difference: float  # largest difference of a token's log-probability
    loss_torch: float  # mean negative log-likelihood of a token of the texts, in nats
    loss_bundle: float
    bits_per_byte: float  # of the texts, by the bundle


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What every bundle says of itself."""

    format: int
    heed: str  # version that made it
    kind: str
    name: str
    precision: str  # of matrix products: "float32", "float16", "int8" or, of a language model, "int4"
    licence: str
    trained_on: str  # the text, and whom to credit for it
    files: Mapping[str, FileRecord]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationManifest(Manifest):
    """Of a model that translates."""

    src_language: str
    tgt_language: str
    network: ModelConfig
    decode: DecodeConfig  # what is used unless the user asks for something else
    parity: Parity
    quality: Quality | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextManifest(Manifest):
    """Of a model that goes on with text."""

    network: LanguageModelConfig
    chat_template: ChatTemplate | None  # None: the model was taught no conversation
    parity: TextParity


KINDS: dict[str, type[TranslationManifest] | type[TextManifest]] = {
    "encoder-decoder": TranslationManifest,
    "decoder": TextManifest,
}


PARTS: dict[type[Manifest], dict[str, type[DataclassInstance]]] = {
    TranslationManifest: {"network": ModelConfig, "decode": DecodeConfig, "parity": Parity, "quality": Quality},
    TextManifest: {"network": LanguageModelConfig, "chat_template": ChatTemplate, "parity": TextParity},
}


def read(directory: Path) -> TranslationManifest | TextManifest:
    """Read a bundle's manifest.

    Raises:
        ModelError: There is none, it is damaged, or a later heed made it.
    """
    path = directory / FILE_NAME
    try:
        table = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{directory}: no heed model (there is no {FILE_NAME}); name a directory made by heed export"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged ({error}); get the model again") from None
    if not isinstance(table, dict):
        raise ModelError(f"{path}: damaged (no table); get the model again")
    if table.get("format") != FORMAT:
        raise ModelError(
            f"{path}: format {table.get('format')!r}, and this heed reads {FORMAT}; install a heed that fits"
        )
    kind = KINDS.get(str(table.get("kind")))
    if kind is None:
        raise ModelError(f"{path}: kind {table.get('kind')!r}, and this heed runs {' and '.join(KINDS)} alone")
    for name, part in PARTS[kind].items():
        if isinstance(table.get(name), dict):
            table[name] = from_table(part, table[name], f"{path}, {name}")
    if isinstance(table.get("files"), dict):
        table["files"] = {name: _record(path, name, record) for name, record in table["files"].items()}
    return from_table(kind, table, str(path))


def write(directory: Path, manifest: Manifest) -> None:
    """Write a bundle's manifest."""
    text = json.dumps(dataclasses.asdict(manifest), indent=2, ensure_ascii=False)
    (directory / FILE_NAME).write_text(text + "\n", "utf-8")


def _record(path: Path, name: str, record: object) -> FileRecord:
    if not isinstance(record, dict):
        raise ModelError(f"{path}: files, {name!r} must be a table, not {record!r}")
    return from_table(FileRecord, record, f"{path}, files, {name!r}")
