"""A bundle's manifest, `heed.json`: the model, its files, and its comparison with PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path

from heed.models.bundle import legacy
from heed.models.decoding.config import AlignmentHeads, DecodeConfig
from heed.models.errors import ModelError
from heed.models.records import record
from heed.models.spec.conventions import Conventions
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.spec.network import NetworkSpec
from heed.models.spec.tables import from_table, to_table
from heed.models.text.chat import ChatTemplate

FORMAT = 3  # of a bundle; a later one is refused
FILE_NAME = "heed.json"
TASKS = ("translate", "generate", "fill", "embed")  # what models are for; see `heed.models.tasks.task`


@record(frozen=True, kw_only=True)
class FileRecord:
    """Size and hash of a file."""

    size: int  # bytes
    sha256: str  # hexadecimal


@record(frozen=True, kw_only=True)
class Parity:
    """The comparison of a bundle with the float32 network it was exported from, on the same texts.

    Texts are the references of sources, or documents. An output that differs only where the network has two almost
    equally probable tokens counts as identical and as a near-tie. Of an encoder alone, the tokens are masked ones.
    """

    texts: int
    tokens: int | None = None  # number of tokens of the texts
    greedy_identical: int  # texts with the same tokens in greedy search, or as the likeliest ones in place of masks
    beam_identical: int | None = None  # texts with the same tokens in beam search
    beam_size: int | None = None
    near_ties: int | None = None  # identical outputs of both kinds that are near-ties
    log_prob_difference: float  # largest difference of a token's log-probability, teacher-forced
    loss_torch: float  # mean negative log-likelihood per token, in nats, of the network
    loss_bundle: float  # the same of the bundle
    bits_per_byte: float | None = None  # number of tokens of the texts, by the bundle


@record(frozen=True, kw_only=True)
class VectorParity:
    """The comparison of the vectors of texts by a bundle and by the float32 network."""

    texts: int
    tokens: int
    nearest_identical: int  # texts that have the same other text as their nearest
    cosine_difference: float  # largest difference of the cosine of two texts
    least_cosine: float  # smallest cosine of the two vectors of a text


@record(frozen=True, kw_only=True)
class Comparison:
    """How an imported network compares with the original, in float32, on the same texts."""

    reference: str  # what computed the original, with its version
    texts: int
    tokens: int
    likeliest_identical: int | None = None  # tokens of which both expect the same next one; None: predicts nothing
    log_prob_difference: float | None = None  # largest difference of a token's log-probability, teacher-forced
    cosine_difference: float | None = None  # of an encoder alone: largest difference of the cosine of two texts
    ids_identical: int | None = None  # texts with the same token ids; None: there was no tokenizer to compare with
    ids_texts: int | None = None  # texts whose ids were compared; None: `texts`


@record(frozen=True, kw_only=True)
class Quality:
    """The quality of translations of a test set."""

    test_set: str
    sentences: int
    beam_size: int
    bleu: float
    chrf: float
    bleu_torch: float  # kind of the network before export, in float32
    bleu_whole: float | None  # with the whole vocabulary; None: the bundle has no shortlist
    bleu_signature: str
    chrf_signature: str


@record(frozen=True, kw_only=True)
class Manifest:
    """The manifest of a bundle."""

    format: int
    heed: str  # version of heed that made the bundle
    task: str  # the model's task: a key of `heed.models.tasks.task.TASKS`
    name: str
    precision: str  # precision of matrix products: "float32", "float16", "int8" or "int4"
    licence: str
    trained_on: str  # the text and its credits
    network: NetworkSpec
    decode: DecodeConfig  # defaults of the search
    files: Mapping[str, FileRecord]
    parity: Parity | None = None  # None: the network predicts nothing
    vectors: VectorParity | None = None  # of an encoder alone
    embedding: EmbeddingSpec | None = None  # of an encoder alone; None: the defaults
    src_language: str = ""
    tgt_language: str = ""
    conventions: Conventions | None = None  # of an imported model; None: heed's own
    origin: str | None = None  # what was imported
    compared: Comparison | None = None  # of an imported model; None: with nothing but the network in PyTorch
    chat_template: ChatTemplate | None = None  # None: the model was not taught conversations
    quality: Quality | None = None  # None: not measured
    alignment: AlignmentHeads | None = None  # None: no heads align words well, or nobody has looked


def read(directory: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        ModelError: It is missing, damaged, or made by a later heed.
    """
    path = directory / FILE_NAME
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{directory}: not a heed model (no {FILE_NAME}); name a directory made by heed export"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged ({error}); get the model again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: damaged (not a table); get the model again")
    if found.get("format") == legacy.FORMAT:
        found = legacy.modern(found, str(path))
    elif found.get("format") != FORMAT:
        raise ModelError(
            f"{path}: format {found.get('format')!r}, but this heed reads {legacy.FORMAT} and {FORMAT}; "
            "install a matching heed"
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
