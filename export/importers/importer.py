"""From other people's checkpoint to a bundle that was compared with it."""

import dataclasses
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed.export.exporter import write_graphs
from heed.export.importers.checkpoints import ImportedModel, read_model
from heed.export.importers.tasks import TASKS
from heed.export.importers.texts import UnfinishedBundle
from heed.export.manifest import write_manifest
from heed.export.model_details import ModelDetails
from heed.export.proof.encoder_parity import Proof
from heed.models.arrays import FloatArray
from heed.models.bundle.manifest import Manifest
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions, language
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.spec.network import NetworkSpec
from heed.models.system.files import directory_whole
from heed.transformer.model import Transformer


def import_model(
    path: Path,
    output: Path,
    *,
    precision: str,
    details: ModelDetails,
    languages: tuple[str, str] = ("", ""),
    prefix: str | None = None,
    task: str | None = None,
    force: bool = False,
) -> Manifest:
    """Make a bundle of a checkpoint, and prove that it predicts the same.

    Args:
        path: A directory in the layout of Hugging Face or of a Bergamot student, or a .gguf file.
        output: The bundle's directory, made when everything has been compared.
        precision: Of matrix products, "float32", "float16", "int8" or "int4".
        details: Name and credits.
        languages: Of source and target, for a model that translates.
        prefix: Text that sources begin with.
        task: The name of a task for which the checkpoint has such a text and settings of the search.
        force: Replace what stands at `output`.

    Raises:
        ModelError: The checkpoint is damaged, or none that heed can import, or the bundle differs from it.
        HeedError: `output` exists.
    """
    model = read_model(path, task)
    conventions = _chosen(model.vocabulary.conventions, prefix)
    languages = _languages(conventions, languages, path)
    network = load_network(model.spec, model.weights, output.absolute().parent)
    with directory_whole(output, force=force) as aside:
        for name, data in model.vocabulary.files.items():
            (aside / name).write_bytes(data)
        files = write_graphs(network, precision, aside, model.shortlist, model.calibration)
        unfinished = UnfinishedBundle(aside, model.spec, conventions, languages, model.embedding or EmbeddingSpec())
        proofs = TASKS[model.task]
        compared = proofs.compare(path, network, unfinished)
        proof = proofs.prove(network, files, precision, unfinished)
        return write_manifest(
            aside,
            details,
            **_facts(model, proof),
            precision=precision,
            src_language=languages[0],
            tgt_language=languages[1],
            conventions=conventions,
            origin=f"{model.origin}, {details.source}" if details.source else model.origin,
            compared=compared,
        )


def _facts(model: ImportedModel, proof: Proof) -> dict[str, Any]:
    """Fields of the manifest that stand in the checkpoint or come from the proof."""
    return {
        "task": model.task,
        "network": model.spec,
        "decode": model.decode,
        "embedding": model.embedding,
        "chat_template": model.chat_template,
        "parity": proof.parity,
        "vectors": proof.vectors,
        "alignment": proof.alignment,
    }


def _chosen(conventions: Conventions, prefix: str | None) -> Conventions:
    """The conventions with the text that sources begin with."""
    return conventions if prefix is None else dataclasses.replace(conventions, prefix=prefix)


def _languages(conventions: Conventions, asked: tuple[str, str], path: Path) -> tuple[str, str]:
    """The languages of source and target by the network's own names, where it is told of them.

    Raises:
        ModelError: It must be told, or it does not know one of them.
    """
    if conventions.output_tag and not all(asked):
        raise ModelError(f"{path}: it translates between many languages; name two with --from and --to")
    source, target = asked
    if conventions.languages and conventions.source_tag == "source":
        source = language(source, conventions.languages)
    if conventions.languages and target:
        target = language(target, conventions.languages)
    return source, target


def load_network(spec: NetworkSpec, weights: Mapping[str, FloatArray], directory: Path | None = None) -> Transformer:
    """A network in PyTorch with given weights, of which memory holds one tensor at a time.

    The others are in a temporary file, which the system reads where they are needed, and drops from memory at will.

    Args:
        spec: The network.
        weights: Its weights.
        directory: Where the temporary file is; None: where the system has its own.
    """
    with torch.device("meta"):
        network = Transformer(spec)
    places: dict[str, tuple[int, tuple[int, ...]]] = {}
    with tempfile.TemporaryFile(dir=directory) as file:
        for name, array in weights.items():
            places[name] = file.tell() // array.itemsize, array.shape
            file.write(np.ascontiguousarray(array, np.float32).data)
        file.flush()
        stored = np.memmap(file, np.float32, mode="c")
    tensors = {
        name: torch.from_numpy(stored[start : start + math.prod(shape)].reshape(shape))
        for name, (start, shape) in places.items()
    }
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()
