"""From a checkpoint of a known family to a network's description, its parameters and its tokenizer."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from heed.export.importers.chat import chat_of
from heed.export.importers.families import bart, bert, gpt2, llama, m2m100, marian, mbart, t5, xlnet
from heed.export.importers.families.bergamot import DECODE, Student
from heed.export.importers.families.family import Family
from heed.export.importers.formats.checkpoint import Checkpoint, read_table
from heed.export.importers.formats.gguf_file import GgufFile
from heed.export.importers.search import decode_config, renormalized
from heed.export.importers.tokenizers.gguf_vocabulary import gguf_vocabulary
from heed.export.importers.tokenizers.reading import embedding
from heed.export.importers.tokenizers.vocabulary import Vocabulary, sentencepiece_pieces
from heed.export.importers.weights import ImportedWeights, WithoutTokens
from heed.export.onnx.calibration.calibration import Calibration
from heed.models.arrays import FloatArray
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.spec.network import NetworkSpec
from heed.models.spec.tables import to_table
from heed.models.text.chat import ChatTemplate
from heed.models.tokenizers.files import FILE, JOINT
from heed.models.tokenizers.library import load_library
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.training.runs.import_record import ImportRecord
from heed.transformer.training.runs.warm_start import InitialNetwork

FAMILIES: dict[str, Family] = {  # by what a configuration calls them
    "bart": bart.FAMILY,
    "bert": bert.BERT,
    "distilbert": bert.DISTILBERT,
    "gpt2": gpt2.FAMILY,
    "llama": llama.LLAMA,
    "m2m_100": m2m100.FAMILY,
    "marian": marian.FAMILY,
    "mbart": mbart.FAMILY,
    "mistral": llama.MISTRAL,
    "mt5": t5.FAMILY,
    "qwen2": llama.QWEN2,
    "qwen3": llama.QWEN3,
    "roberta": bert.ROBERTA,
    "t5": t5.FAMILY,
    "xlm-roberta": bert.XLM_ROBERTA,
    "xlnet": xlnet.FAMILY,
}


@dataclasses.dataclass(frozen=True)
class ImportedModel:
    """What a checkpoint holds, by heed's names."""

    spec: NetworkSpec
    weights: Mapping[str, FloatArray]  # each read when it is asked for
    vocabulary: Vocabulary
    decode: DecodeConfig
    origin: str  # what it was, in words
    chat_template: ChatTemplate | None = None
    embedding: EmbeddingSpec | None = None  # of an encoder alone
    shortlist: Shortlist | None = None  # of a translator's outputs
    calibration: Calibration | None = None  # scales of integers, where they stand in the checkpoint

    @property
    def task(self) -> str:
        """What the model is for: a key of `heed.models.tasks.task.TASKS`."""
        if self.spec.decoder is None:
            return "embed" if self.spec.output_transform is None else "fill"
        return "translate" if self.spec.encoder else "generate"


def read_model(path: Path, task: str | None = None) -> ImportedModel:
    """What a directory or a .gguf file holds.

    Args:
        path: The directory or the file.
        task: See `Checkpoint`.

    Raises:
        ModelError: It is damaged, or none that heed can import.
    """
    if path.suffix == ".gguf":
        if task is not None:
            raise ModelError(f"{path}: a GGUF file names no tasks; leave out --task")
        return _gguf(GgufFile(path))
    if Student.stands_at(path):
        if task is not None:
            raise ModelError(f"{path}: a Bergamot student has no tasks; leave out --task")
        return _student(Student(path))
    checkpoint = Checkpoint(path, task)
    family, (spec, weights) = _family(checkpoint), read_network(checkpoint)
    if (forbidden := renormalized(checkpoint)) and not spec.output_bias:
        raise ModelError(f"{path}: renormalize_logits must be false for heed, for logits of this family have no bias")
    parameters = WithoutTokens(weights, forbidden) if forbidden else weights
    vocabulary = family.vocabulary(checkpoint, spec)
    origin = f"a checkpoint of the family {checkpoint.model_type} in the layout of transformers"
    chat = None if spec.encoder else chat_of(*_chat(checkpoint, vocabulary), vocabulary.conventions)
    vectors = None if spec.decoder else embedding(checkpoint, EmbeddingSpec(pooling=family.pooling))
    return ImportedModel(spec, parameters, vocabulary, decode_config(checkpoint), origin, chat, vectors)


def _chat(checkpoint: Checkpoint, vocabulary: Vocabulary) -> tuple[object, Callable[[int], str]]:
    """A checkpoint's chat template, and what gives the text of a token."""
    path = checkpoint.path / "chat_template.jinja"
    if path.is_file():
        source: object = path.read_text("utf-8", "replace")
    else:
        config = checkpoint.path / "tokenizer_config.json"
        source = read_table(config).get("chat_template") if config.is_file() else None
    if FILE in vocabulary.files:
        library = load_library(vocabulary.files[FILE], FILE)
        return source, lambda token: library.id_to_token(token) or ""
    pieces = sentencepiece_pieces(vocabulary.files[JOINT], checkpoint)
    return source, pieces.__getitem__


def _student(student: Student) -> ImportedModel:
    return ImportedModel(
        student.spec,
        student.weights,
        student.vocabulary,
        DECODE,
        "a Bergamot student in Marian's binary form",
        shortlist=student.shortlist,
        calibration=student.calibration,
    )


def _gguf(file: GgufFile) -> ImportedModel:
    spec, weights = FAMILIES[file.family].read(file.settings(), file.tensors())
    vocabulary = gguf_vocabulary(file, spec.stacks["decoder"].vocab_size)
    origin = f"a GGUF file of the architecture {file.architecture}"
    source, tokens = file.metadata.get("tokenizer.chat_template"), file.metadata["tokenizer.ggml.tokens"]
    chat = chat_of(source, tokens.__getitem__, vocabulary.conventions)
    return ImportedModel(spec, weights, vocabulary, DecodeConfig(by_length=True), origin, chat)


def from_checkpoint(path: Path) -> InitialNetwork:
    """The network of a directory or a .gguf file, as the start of a run.

    Raises:
        ModelError: See `read_model`.
    """
    model = read_model(path)
    record = ImportRecord(
        conventions=model.vocabulary.conventions,
        decode=model.decode,
        origin=model.origin,
        chat_template=model.chat_template,
    )
    weights = {name: torch.from_numpy(model.weights[name]) for name in model.weights}
    network, files = to_table(model.spec), model.vocabulary.files
    return InitialNetwork(model.task, network, (), {}, weights, imported=record, files=files)


def read_network(checkpoint: Checkpoint) -> tuple[NetworkSpec, ImportedWeights]:
    """The network of a checkpoint, and its parameters, each read when it is asked for.

    Raises:
        ModelError: The checkpoint is damaged, or its network is none that heed can run.
    """
    return _family(checkpoint).read(checkpoint.settings(), checkpoint.tensors)


def _family(checkpoint: Checkpoint) -> Family:
    family = FAMILIES.get(checkpoint.model_type)
    if family is None:
        known = ", ".join(FAMILIES)
        raise ModelError(f"{checkpoint.path}: model_type {checkpoint.model_type!r}, and heed imports {known}")
    return family
