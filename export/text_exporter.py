"""From a training run on text to a bundle that was compared with it."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx.checker
import torch

from heed.export.card import write_text_card
from heed.export.label import Label
from heed.export.onnx.blockwise import BITS
from heed.export.onnx.calibration import cache_scales
from heed.export.onnx.decoder import TextNetworkWriter
from heed.export.onnx.weights import Weights
from heed.export.proof import text_parity
from heed.models.arrays import FloatArray
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import record_files
from heed.models.bundle.manifest import TextManifest
from heed.models.runtime.decoder import OnnxTextNetwork
from heed.models.system.files import directory_whole
from heed.models.system.processor import available_cores
from heed.models.text.chat import ChatTemplate
from heed.models.tokenizers.subwords import write_tokenizers
from heed.transformer.decoding import TorchTextNetwork
from heed.transformer.language_model import LanguageModel
from heed.transformer.training.runs.run import TextRun


def export_text(
    run: TextRun,
    output: Path,
    *,
    precision: str,
    label: Label,
    chat_template: ChatTemplate | None = None,
    force: bool = False,
) -> TextManifest:
    """Export the best checkpoint of a run.

    Args:
        run: What to export.
        output: The bundle's directory, made when everything has been compared.
        precision: Of matrix products, "float32", "float16", "int8" or "int4".
        label: Names and credits.
        chat_template: How a conversation is written for this model; None: it was not taught any.
        force: Replace what stands at `output`.

    Raises:
        ModelError: The exported network is not the trained one, or the run is damaged.
        HeedError: `output` exists, or the run has no checkpoint.
    """
    checkpoint, _ = run.best()
    network = run.load_network(checkpoint)
    with directory_whole(output, force=force) as aside:
        write_text_graphs(network, precision, aside, _scales(run, network) if precision in BITS else {})
        exported = OnnxTextNetwork(aside, run.model, device="cpu", threads=available_cores())
        compared = text_parity.compare(TorchTextNetwork(network), exported, run.tokenizer, run.validation)
        text_parity.require(compared, precision)
        write_tokenizers(aside, (run.tokenizer.pieces, run.tokenizer.pieces))
        manifest = TextManifest(
            format=manifests.FORMAT,
            heed=importlib.metadata.version("heed"),
            kind=run.kind,
            name=label.name,
            precision=precision,
            network=run.model,
            chat_template=chat_template,
            licence=label.licence,
            trained_on=label.trained_on,
            files={},
            parity=compared,
        )
        (aside / "README.md").write_text(write_text_card(manifest), "utf-8")
        manifest = dataclasses.replace(manifest, files=record_files(aside))
        manifests.write(aside, manifest)
    return manifest


def _scales(run: TextRun, network: LanguageModel) -> dict[str, FloatArray]:
    """Those of keys and values, by the texts that follow those of the proof, where there are as many."""
    n = text_parity.TEXTS
    texts, _ = text_parity.first_texts(run.model.context, run.tokenizer, run.validation, 2 * n)
    return cache_scales(network, [[run.tokenizer.bos_id, *text[:-1]] for text in texts[n:] or texts])


def write_text_graphs(
    network: LanguageModel, precision: str, directory: Path, scales: Mapping[str, FloatArray] | None = None
) -> None:
    """Write the graphs of a network and their file of weights.

    Args:
        network: The network.
        precision: See `export_text`.
        directory: Where they are written.
        scales: Of keys and values, where they are kept in integers; see `heed.export.onnx.calibration`.
    """
    scales = scales or {}
    with torch.inference_mode():
        state = {name: tensor.float().cpu().numpy() for name, tensor in network.state_dict().items()}
    weights = Weights()

    def writer(name: str) -> TextNetworkWriter:
        return TextNetworkWriter(name, network.config, state, weights, precision, scales)

    graphs = [writer("stream").stream(), writer("decoder").decoder()]
    if scales:
        graphs.append(writer("rounding").rounding())
    for graph in graphs:
        graph.save(directory / f"{graph.name}.onnx")
    weights.write(directory)
    for graph in graphs:
        onnx.checker.check_model(directory / f"{graph.name}.onnx")
