"""From a training run to a bundle that was compared with it."""

import dataclasses
import importlib.metadata
from pathlib import Path

import onnx.checker
import torch

from heed.export.card import write_card
from heed.export.label import Label
from heed.export.onnx.attention import Scales, can_stream
from heed.export.onnx.blockwise import BITS
from heed.export.onnx.calibration import cache_scales
from heed.export.onnx.graphs import NetworkWriter
from heed.export.proof import parity, quality
from heed.export.proof.pruning import choose_threshold
from heed.export.tasks import TASKS
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import SHORTLIST, record_files
from heed.models.bundle.manifest import Manifest, Quality
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.runtime.network import OnnxNetwork
from heed.models.system.files import directory_whole
from heed.models.system.processor import available_cores
from heed.models.tasks.scorer import Passage
from heed.models.text.chat import ChatTemplate
from heed.models.tokenizers.subwords import Tokenizer, write_tokenizers
from heed.transformer.data.parallel_text import ParallelText
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer
from heed.transformer.training.runs.run import TextRun, TranslationRun


def export(
    run: TranslationRun | TextRun,
    output: Path,
    *,
    precision: str,
    label: Label,
    test: tuple[str, ParallelText] | None = None,
    chat_template: ChatTemplate | None = None,
    force: bool = False,
) -> Manifest:
    """Export the best checkpoint of a run.

    Args:
        run: What to export.
        output: The bundle's directory, made when everything has been compared.
        precision: Of matrix products, "float32", "float16", "int8" or "int4".
        label: Names and credits.
        test: A test set's name and pairs, to measure translations by.
        chat_template: How a conversation is written for this model; None: it was not taught any.
        force: Replace what stands at `output`.

    Raises:
        ModelError: The exported network is not the trained one, or the run is damaged.
        HeedError: `output` exists, or the run has no checkpoint.
    """
    checkpoint, _ = run.best()
    network, task = run.load_network(checkpoint), TASKS[run.task]
    tokenizers, found = task.tokenizers(run), task.passages(run, 2 * task.n_passages)
    passages, others = found[: task.n_passages], found[task.n_passages :] or found
    scales = _scales(network, precision, others, tokenizers[1].bos_id)
    languages = {name: str(getattr(run.train, name, "")) for name in ("src_language", "tgt_language")}
    with directory_whole(output, force=force) as aside:
        files = write_graphs(network, precision, aside, Shortlist.load(run.path), scales)
        proof = _Proof(network, aside, files, tokenizers, precision)
        compared = proof.compare(passages, task.n_bytes(run, passages))
        decode = DecodeConfig(beam_threshold=proof.threshold(others))
        write_tokenizers(aside, tokenizers)
        manifest = Manifest(
            format=manifests.FORMAT,
            heed=importlib.metadata.version("heed"),
            task=run.task,
            name=label.name,
            precision=precision,
            network=network.spec,
            decode=decode,
            licence=label.licence,
            trained_on=label.trained_on,
            files={},
            parity=compared,
            chat_template=chat_template,
            quality=proof.measure(*test, decode) if test else None,
            **languages,
        )
        (aside / "README.md").write_text(write_card(manifest), "utf-8")
        manifest = dataclasses.replace(manifest, files=record_files(aside))
        manifests.write(aside, manifest)
    return manifest


class _Proof:
    """A network, and what was written of it.

    Args:
        network: In PyTorch.
        directory: Of the graphs.
        files: Their names.
        tokenizers: Source's and target's.
        precision: Of matrix products.
    """

    def __init__(
        self,
        network: Transformer,
        directory: Path,
        files: list[str],
        tokenizers: tuple[Tokenizer, Tokenizer],
        precision: str,
    ) -> None:
        def load(*, shortlist: bool) -> OnnxNetwork:
            threads = available_cores()
            return OnnxNetwork(directory, network.spec, files, device="cpu", threads=threads, shortlist=shortlist)

        self._before, self._whole = TorchNetwork(network), load(shortlist=False)
        self._narrowed = load(shortlist=True) if set(SHORTLIST) <= set(files) else None
        self._tokenizers, self._precision = tokenizers, precision

    def compare(self, passages: list[Passage], n_bytes: int | None) -> manifests.Parity:
        """How both do on some texts.

        Raises:
            ModelError: They differ.
        """
        compared = parity.compare(self._before, self._whole, passages, self._special, n_bytes=n_bytes)
        parity.require(compared, self._precision)
        if self._narrowed:
            parity.require_shortlist(self._whole, self._narrowed, passages, self._special)
        return compared

    def threshold(self, passages: list[Passage]) -> float | None:
        """The threshold by which the network's beams are pruned; see `heed.export.proof.pruning`."""
        return choose_threshold(self._narrowed or self._whole, passages, self._special)

    @property
    def _special(self) -> SpecialIds:
        tgt = self._tokenizers[1]
        return SpecialIds(bos_id=tgt.bos_id, eos_id=tgt.eos_id, suppressed=tgt.suppressed)

    def measure(self, name: str, text: ParallelText, config: DecodeConfig) -> Quality:
        """How well a test set is translated."""
        after = self._narrowed or self._whole
        sides = {"before": self._before, "after": after} | ({"whole": self._whole} if self._narrowed else {})
        return quality.measure(name, text, self._tokenizers, sides, config)


def _scales(network: Transformer, precision: str, passages: list[Passage], bos_id: int) -> Scales:
    """Those of keys and values, where a stream keeps them in integers; none: they are kept as floats."""
    if precision not in BITS or not can_stream(network.spec):
        return {}
    return cache_scales(network, [[bos_id, *(each.given + each.tokens)[:-1]] for each in passages])


def write_graphs(
    network: Transformer,
    precision: str,
    directory: Path,
    shortlist: Shortlist | None = None,
    scales: Scales | None = None,
) -> list[str]:
    """Write the graphs of a network and their file of weights.

    Args:
        network: The network.
        precision: See `export`.
        directory: Where they are written.
        shortlist: Which target tokens each source token is likely to need.
        scales: Of keys and values, where they are kept in integers; see `heed.export.onnx.calibration`.

    Returns:
        The names of the graphs' files.
    """
    with torch.inference_mode():
        state = {name: tensor.float().cpu().numpy() for name, tensor in network.state_dict().items()}
    writer = NetworkWriter(network.spec, state, precision, scales)
    graphs = {f"{graph.name}.onnx": graph for graph in writer.graphs(shortlist)}
    for name, graph in graphs.items():
        graph.save(directory / name)
    writer.weights.write(directory)
    for name in graphs:
        onnx.checker.check_model(directory / name)
    return list(graphs)
