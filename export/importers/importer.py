"""From other people's checkpoint to a bundle that was compared with it."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import torch

from heed.export.card import write_card
from heed.export.exporter import write_graphs
from heed.export.importers import original
from heed.export.importers.checkpoints import read_model
from heed.export.importers.texts import passages
from heed.export.label import Label
from heed.export.proof import parity
from heed.models.arrays import FloatArray
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import record_files
from heed.models.bundle.manifest import Manifest
from heed.models.decoding.config import SpecialIds
from heed.models.errors import ModelError
from heed.models.runtime.network import OnnxNetwork
from heed.models.spec.conventions import language
from heed.models.spec.network import NetworkSpec
from heed.models.system.files import directory_whole
from heed.models.system.processor import available_cores
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer


def import_model(
    path: Path,
    output: Path,
    *,
    precision: str,
    label: Label,
    languages: tuple[str, str] = ("", ""),
    prefix: str | None = None,
    force: bool = False,
) -> Manifest:
    """Make a bundle of a checkpoint, and prove that it predicts the same.

    Args:
        path: A directory in the layout of Hugging Face, or a .gguf file.
        output: The bundle's directory, made when everything has been compared.
        precision: Of matrix products, "float32", "float16", "int8" or "int4".
        label: Names and credits.
        languages: Of source and target, for a model that translates.
        prefix: Text that sources begin with, or the name of a task for which the checkpoint has such a text.
        force: Replace what stands at `output`.

    Raises:
        ModelError: The checkpoint is damaged, or none that heed can import, or the bundle differs from it.
        HeedError: `output` exists.
    """
    model = read_model(path)
    conventions, spec = model.vocabulary.conventions, model.spec
    if prefix is not None:
        conventions = dataclasses.replace(conventions, prefix=(conventions.prefixes or {}).get(prefix, prefix))
    if conventions.output_tag and not all(languages):
        raise ModelError(f"{path}: it translates between many languages; name two with --from and --to")
    if conventions.languages and conventions.source_tag:
        known = conventions.languages
        languages = (languages[0], languages[1] and language(languages[1], known))
        languages = (
            language(languages[0], known) if conventions.source_tag == "source" else languages[0],
            languages[1],
        )
    network = load_network(spec, model.weights)
    manifest = Manifest(
        format=manifests.FORMAT,
        heed=importlib.metadata.version("heed"),
        task="translate" if spec.encoder else "generate",
        name=label.name,
        precision=precision,
        network=spec,
        decode=model.decode,
        licence=label.licence,
        trained_on=label.trained_on,
        files={},
        parity=parity_of_nothing(),
        src_language=languages[0],
        tgt_language=languages[1],
        conventions=conventions,
        chat_template=model.chat_template,
        origin=model.origin,
    )
    with directory_whole(output, force=force) as aside:
        for name, data in model.vocabulary.files.items():
            (aside / name).write_bytes(data)
        files = write_graphs(network, precision, aside)
        manifest = _proved(path, network, manifest, aside, files)
        (aside / "README.md").write_text(write_card(manifest), "utf-8")
        manifest = dataclasses.replace(manifest, files=record_files(aside))
        manifests.write(aside, manifest)
    return manifest


def load_network(spec: NetworkSpec, weights: Mapping[str, FloatArray]) -> Transformer:
    """A network in PyTorch with given weights, each held once."""
    with torch.device("meta"):
        network = Transformer(spec)
    network.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights}, assign=True)
    return network.requires_grad_(False).eval()


def parity_of_nothing() -> manifests.Parity:
    """What stands in a manifest before anything was compared."""
    return manifests.Parity(texts=0, greedy_identical=0, log_prob_difference=0.0, loss_torch=0.0, loss_bundle=0.0)


def _proved(path: Path, network: Transformer, manifest: Manifest, directory: Path, files: list[str]) -> Manifest:
    """The manifest with how the graphs compare with the network in PyTorch, and this one with the original.

    Raises:
        ModelError: They differ.
    """
    exported = OnnxNetwork(directory, network.spec, files, device="cpu", threads=available_cores())
    conventions = manifest.conventions
    assert conventions is not None
    chosen, forced = passages(directory, manifest)
    special = SpecialIds(
        bos_id=conventions.start_id,
        eos_id=conventions.eos_id,
        ends=conventions.ends[1:],
        suppressed=conventions.suppressed,
        forced=forced,
    )
    before = TorchNetwork(network)
    compared = original.compare(path, before, chosen, special, directory, manifest)
    found = parity.compare(before, exported, chosen, special)
    parity.require(found, manifest.precision)
    return dataclasses.replace(manifest, parity=found, compared=compared)
