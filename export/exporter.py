"""Export of a training run to a bundle, with a comparison of both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx.checker
import torch

from heed.export.alignment_heads import choose_heads
from heed.export.manifest import write_manifest
from heed.export.model_details import ModelDetails
from heed.export.onnx.calibration.calibration import Calibration, calibrate
from heed.export.onnx.graphs import NetworkWriter
from heed.export.onnx.weights import FILE_NAME, Weights
from heed.export.proof import encoder_parity, parity, quality
from heed.export.proof.pruning import choose_threshold
from heed.export.tasks import TASKS
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import SHORTLIST
from heed.models.bundle.manifest import Manifest, Quality
from heed.models.decoding.config import AlignmentHeads, DecodeConfig, SpecialIds
from heed.models.errors import HeedError
from heed.models.runtime.encoder import OnnxEncoder
from heed.models.runtime.network import OnnxNetwork
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.system.files import directory_whole
from heed.models.system.processor import available_cores
from heed.models.tasks.scorer import ScoringInput
from heed.models.text.chat import ChatTemplate
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.data.text.parallel_text import ParallelText
from heed.transformer.decoding import TorchNetwork
from heed.transformer.encoding import TorchEncoder
from heed.transformer.model import Transformer
from heed.transformer.training.runs.run import MaskedRun, TextRun, TranslationRun

if TYPE_CHECKING:
    from heed.models.runtime.protocol import Network


def export(
    run: TranslationRun | TextRun,
    output: Path,
    *,
    precision: str,
    details: ModelDetails,
    test: tuple[str, ParallelText] | None = None,
    chat_template: ChatTemplate | None = None,
    force: bool = False,
) -> Manifest:
    """Export the best checkpoint of a run.

    Args:
        run: The run to export.
        output: The bundle's directory, created after the comparison.
        precision: Precision of matrix products: "float32", "float16", "int8" or "int4".
        details: Name and credits.
        test: Name and pairs of a test set, to measure translation quality.
        chat_template: Format of conversations; None: the model was not taught any.
        force: Replace an existing `output`.

    Raises:
        ModelError: The exported network differs from the trained one, or the run is damaged.
        HeedError: `output` exists, the run has no checkpoint, or is only the beginning of another.
    """
    if run.task not in EXPORTS:
        begin = f"heed train --init-from {run.path}"
        raise HeedError(
            f"{run.path}: learns to restore text, a beginning for translation: {begin} --src TEXT --tgt TEXT"
        )
    settings = {
        "precision": precision,
        "details": details,
        "test": test,
        "chat_template": chat_template,
        "force": force,
    }
    return EXPORTS[run.task](run, output, **settings)


def _export_decoder(
    run: TranslationRun | TextRun,
    output: Path,
    *,
    precision: str,
    details: ModelDetails,
    test: tuple[str, ParallelText] | None,
    chat_template: ChatTemplate | None,
    force: bool,
) -> Manifest:
    """Export a network that decodes; see `export`."""
    checkpoint, _ = run.best()
    network, task = run.load_network(checkpoint), TASKS[run.task]
    found, imported = task.passages(run, 2 * task.n_passages), run.imported
    passages, others = found[: task.n_passages], found[task.n_passages :] or found
    calibration = calibrate(network, precision, others, run.tokenizers[1].bos_id)
    with directory_whole(output, force=force) as aside:
        files = write_graphs(network, precision, aside, Shortlist.load(run.path), calibration)
        proof = _Proof(network, aside, files, run.tokenizers, precision)
        compared = proof.compare(passages, task.n_bytes(run, passages))
        decode = imported.decode if imported else DecodeConfig(beam_threshold=proof.threshold(others))
        run.copy_tokenizers(aside)
        return write_manifest(
            aside,
            details,
            task=run.task,
            precision=precision,
            network=network.spec,
            decode=decode,
            parity=compared,
            chat_template=chat_template or (imported.chat_template if imported else None),
            conventions=imported.conventions if imported else None,
            origin=imported.origin if imported else None,
            quality=proof.measure(*test, decode) if test else None,
            alignment=proof.heads(others),
            src_language=str(getattr(run.train, "src_language", "")),
            tgt_language=str(getattr(run.train, "tgt_language", "")),
        )


def _export_encoder(
    run: MaskedRun,
    output: Path,
    *,
    precision: str,
    details: ModelDetails,
    test: None,  # noqa: ARG001 - nothing is translated
    chat_template: None,  # noqa: ARG001 - and nothing answered
    force: bool,
) -> Manifest:
    """Export an encoder alone; see `export`."""
    checkpoint, _ = run.best()
    network, tokenizer, task = run.load_network(checkpoint), run.tokenizer, TASKS[run.task]
    rows = [
        [tokenizer.bos_id, *passage.tokens[: run.context], tokenizer.eos_id]
        for passage in task.passages(run, task.n_passages)
    ]
    with directory_whole(output, force=force) as aside:
        files = write_graphs(network, precision, aside)
        exported = OnnxEncoder(aside, network.spec, files, device="cpu", threads=available_cores())
        proof = encoder_parity.prove((TorchEncoder(network), exported), rows, EmbeddingSpec(), tokenizer.mask_id)
        encoder_parity.require(proof, precision)
        run.copy_tokenizers(aside)
        return write_manifest(
            aside,
            details,
            task=run.task,
            precision=precision,
            network=network.spec,
            decode=DecodeConfig(),
            parity=proof.parity,
            vectors=proof.vectors,
        )


EXPORTS: Mapping[str, Callable[..., Manifest]] = {
    TranslationRun.task: _export_decoder,
    TextRun.task: _export_decoder,
    MaskedRun.task: _export_encoder,
}


class _Proof:
    """The comparison of a network with its exported graphs.

    Args:
        network: The network in PyTorch.
        directory: Directory of the graphs.
        files: Names of the graphs' files.
        tokenizers: Source and target tokenizers.
        precision: Precision of matrix products.
    """

    def __init__(
        self,
        network: Transformer,
        directory: Path,
        files: list[str],
        tokenizers: tuple[Any, Any],
        precision: str,
    ) -> None:
        def load(*, shortlist: bool) -> OnnxNetwork:
            threads = available_cores()
            return OnnxNetwork(directory, network.spec, files, device="cpu", threads=threads, shortlist=shortlist)

        self._directory, self._files = directory, files
        self._before, self._whole = TorchNetwork(network), load(shortlist=False)
        self._narrowed = load(shortlist=True) if set(SHORTLIST) <= set(files) else None
        self._tokenizers, self._precision = tokenizers, precision

    def compare(self, passages: list[ScoringInput], n_bytes: int | None) -> manifests.Parity:
        """Compare both on some texts.

        Raises:
            ModelError: They differ.
        """
        compared = parity.compare(self._before, self._whole, passages, self._special, n_bytes=n_bytes)
        parity.require(compared, self._precision)
        if self._narrowed:
            parity.require_shortlist(self._whole, self._narrowed, passages, self._special)
        return compared

    def threshold(self, passages: list[ScoringInput]) -> float | None:
        """The threshold by which the network's beams are pruned; see `heed.export.proof.pruning`."""
        return choose_threshold(self._narrowed or self._whole, passages, self._special)

    def heads(self, passages: list[ScoringInput]) -> AlignmentHeads | None:
        """The attention heads that align words; see `heed.export.alignment_heads`."""
        return choose_heads(self._directory, self._whole, self._files, passages, self._special)

    @property
    def _special(self) -> SpecialIds:
        return SpecialIds.of(self._tokenizers[1])

    def measure(self, name: str, text: ParallelText, config: DecodeConfig) -> Quality:
        """Measure the translation of a test set."""
        sides: dict[str, Network] = {"before": self._before, "after": self._narrowed or self._whole}
        if self._narrowed:
            sides["whole"] = self._whole
        return quality.measure(name, text, self._tokenizers, sides, config)


def write_graphs(
    network: Transformer,
    precision: str,
    directory: Path,
    shortlist: Shortlist | None = None,
    calibration: Calibration | None = None,
) -> list[str]:
    """Write the graphs of a network and their shared file of weights.

    Args:
        network: The network.
        precision: See `export`.
        directory: The output directory.
        shortlist: The shortlist, if any.
        calibration: Scales of integers; None: none is known.

    Returns:
        The names of the graphs' files.
    """
    with torch.inference_mode():
        state = {name: tensor.float().cpu().numpy() for name, tensor in network.state_dict().items()}
    with (directory / FILE_NAME).open("wb") as file:
        writer = NetworkWriter(network.spec, state, precision, Weights(file), calibration)
        graphs = {f"{graph.name}.onnx": graph for graph in writer.graphs(shortlist)}
    for name, graph in graphs.items():
        graph.save(directory / name)
    for name in graphs:
        onnx.checker.check_model(directory / name)
    return list(graphs)
