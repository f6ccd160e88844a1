"""From a training run to a bundle that was compared with it."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx.checker
import torch

from heed.export.card import write_card
from heed.export.label import Label
from heed.export.onnx.encoder_decoder import NetworkWriter
from heed.export.onnx.weights import Weights
from heed.export.proof import parity, quality
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import record_files
from heed.models.bundle.manifest import Quality, TranslationManifest
from heed.models.decoding.config import DecodeConfig
from heed.models.runtime.encoder_decoder import OnnxNetwork
from heed.models.system.files import directory_whole
from heed.models.system.processor import available_cores
from heed.models.tokenizers.subwords import write_tokenizers
from heed.transformer.data.parallel_text import ParallelText
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer
from heed.transformer.training.runs.run import TranslationRun

if TYPE_CHECKING:
    from heed.models.runtime.protocol import Network


def export(
    run: TranslationRun,
    output: Path,
    *,
    precision: str,
    label: Label,
    test: tuple[str, ParallelText] | None = None,
    force: bool = False,
) -> TranslationManifest:
    """Export the best checkpoint of a run.

    Args:
        run: What to export.
        output: The bundle's directory, made when everything has been compared.
        precision: Of matrix products, "float32", "float16" or "int8".
        label: Names and credits.
        test: A test set's name and pairs, to measure the translations by.
        force: Replace what stands at `output`.

    Raises:
        ModelError: The exported network is not the trained one, or the run is damaged.
        HeedError: `output` exists, or the run has no checkpoint.
    """
    checkpoint, _ = run.best()
    network = run.load_network(checkpoint)
    tokenizers, shortlist = (run.src_tokenizer, run.tgt_tokenizer), Shortlist.load(run.path)
    with directory_whole(output, force=force) as aside:
        write_graphs(network, precision, aside, shortlist)
        exported = OnnxNetwork(aside, run.model, device="cpu", threads=available_cores())
        compared = parity.compare(network, exported, tokenizers, run.validation)
        parity.require(compared, precision)
        sides: dict[str, Network] = {"before": TorchNetwork(network), "after": exported}
        if shortlist:
            narrowed = OnnxNetwork(aside, run.model, device="cpu", threads=available_cores(), shortlist=True)
            parity.require_shortlist(exported, narrowed, tokenizers, run.validation)
            sides |= {"after": narrowed, "whole": exported}
        measured: Quality | None = None
        if test is not None:
            name, text = test
            measured = quality.measure(name, text, tokenizers, sides, DecodeConfig())
        write_tokenizers(aside, tokenizers)
        manifest = TranslationManifest(
            format=manifests.FORMAT,
            heed=importlib.metadata.version("heed"),
            kind=run.kind,
            name=label.name,
            src_language=run.train.src_language,
            tgt_language=run.train.tgt_language,
            precision=precision,
            network=run.model,
            decode=DecodeConfig(),
            licence=label.licence,
            trained_on=label.trained_on,
            files={},
            parity=compared,
            quality=measured,
        )
        (aside / "README.md").write_text(write_card(manifest), "utf-8")
        manifest = dataclasses.replace(manifest, files=record_files(aside))
        manifests.write(aside, manifest)
    return manifest


def write_graphs(network: Transformer, precision: str, directory: Path, shortlist: Shortlist | None = None) -> None:
    """Write the graphs of a network and their file of weights."""
    with torch.inference_mode():
        state = {name: tensor.float().cpu().numpy() for name, tensor in network.state_dict().items()}
    weights = Weights()

    def writer(name: str) -> NetworkWriter:
        return NetworkWriter(name, network.config, state, weights, precision)

    graphs = [writer("encoder").encoder(), writer("decoder").decoder()]
    if shortlist:
        graphs += [writer("shortlist").shortlist(shortlist), writer("shortlist_decoder").decoder(shortlist=True)]
    for graph in graphs:
        graph.save(directory / f"{graph.name}.onnx")
    weights.write(directory)
    for graph in graphs:
        onnx.checker.check_model(directory / f"{graph.name}.onnx")
