"""A bundle's manifest, `heed.json`: what the model is, its files, and how it was proved."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from heed.models.bundle import legacy
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.tables import from_table, to_table
from heed.models.text.chat import ChatTemplate

FORMAT = 3  # of a bundle; a later one is refused
FILE_NAME = "heed.json"
TASKS = ("translate", "generate")  # what models are for; see `heed.models.tasks.task`


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a file must be."""

    size: int  # bytes
    sha256: str  # hexadecimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """How the bundle compares with the network it was exported from, in float32, on the same texts.

    Texts are the references of sources, or documents. Those whose tokens part where the network itself has two almost
    equally likely ones are counted as identical, and as near-ties.
    """

    texts: int
    tokens: int | None = None  # of the texts
    greedy_identical: int  # texts whose greedy outputs have the same tokens
    beam_identical: int | None = None  # texts whose outputs by beam search have the same tokens
    beam_size: int | None = None
    near_ties: int | None = None  # of the identical ones, greedy or by beam search
    log_prob_difference: float  # largest difference of any token's log-probability, teacher-forced
    loss_torch: float  # mean negative log-likelihood of the texts' tokens, in nats, by the network
    loss_bundle: float  # the same by the bundle
    bits_per_byte: float | None = None  # of the texts, by the bundle


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How an imported network compares with the original, in float32, on the same texts."""

    reference: str  # what computed the original, with its version
    texts: int
    tokens: int
    likeliest_identical: int  # tokens of which both expect the same next one
    log_prob_difference: float  # largest difference of any token's log-probability, teacher-forced
    ids_identical: int | None = None  # texts with the same token ids; None: there was no tokenizer to compare with


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
class Manifest:
    """What a bundle says of itself."""

    format: int
    heed: str  # version that made it
    task: str  # what the model is for: a name of `heed.models.tasks.task.TASKS`
    name: str
    precision: str  # of matrix products: "float32", "float16", "int8" or "int4"
    licence: str
    trained_on: str  # the text, and whom to credit for it
    network: NetworkSpec
    decode: DecodeConfig  # how a search decodes unless the user asks for something else
    files: Mapping[str, FileRecord]
    parity: Parity
    src_language: str = ""
    tgt_language: str = ""
    conventions: Conventions | None = None  # of an imported model; None: heed's own
    origin: str | None = None  # what was imported
    compared: Comparison | None = None  # of an imported model; None: with nothing but the network in PyTorch
    chat_template: ChatTemplate | None = None  # None: the model was taught no conversation
    quality: Quality | None = None  # None: it was not measured


def read(directory: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        ModelError: There is none, it is damaged, or it was made by a later heed.
    """
    path = directory / FILE_NAME
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{directory}: no heed model (there is no {FILE_NAME}); name a directory made by heed export"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged ({error}); get the model again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: damaged (no table); get the model again")
    if found.get("format") == legacy.FORMAT:
        found = legacy.modern(found, str(path))
    elif found.get("format") != FORMAT:
        raise ModelError(
            f"{path}: format {found.get('format')!r}, and this heed reads {legacy.FORMAT} and {FORMAT}; "
            "install a heed that fits"
        )
    manifest = from_table(Manifest, found, str(path))
    if manifest.task not in TASKS:
        raise ModelError(
            f"{path}: task {manifest.task!r}, and this heed knows {' and '.join(TASKS)}; install a later heed"
        )
    return manifest


def write(directory: Path, manifest: Manifest) -> None:
    """Write a bundle's manifest."""
    text = json.dumps(to_table(manifest), indent=2, ensure_ascii=False)
    (directory / FILE_NAME).write_text(text + "\n", "utf-8")
