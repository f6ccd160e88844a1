"""Tasks of imported models: a record for each, of how they are compared."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from heed.export.alignment_heads import choose_heads, translated
from heed.export.importers import original
from heed.export.importers.texts import UnfinishedBundle
from heed.export.proof import encoder_parity, parity
from heed.export.proof.encoder_parity import Proof
from heed.models.bundle.bundle import SHORTLIST
from heed.models.bundle.manifest import Comparison
from heed.models.runtime.encoder import OnnxEncoder
from heed.models.runtime.network import OnnxNetwork
from heed.models.system.processor import available_cores
from heed.transformer.decoding import TorchNetwork
from heed.transformer.encoding import TorchEncoder
from heed.transformer.model import Transformer


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportTask:
    """What an import needs to know about a task."""

    compare: Callable[[Path, Transformer, UnfinishedBundle], Comparison | None]  # the network with the original
    prove: Callable[[Transformer, list[str], str, UnfinishedBundle], Proof]  # graphs of a precision with the network


def _compare(path: Path, network: Transformer, unfinished: UnfinishedBundle) -> Comparison | None:
    return original.compare(path, TorchNetwork(network), unfinished)


def _prove(network: Transformer, files: list[str], precision: str, unfinished: UnfinishedBundle) -> Proof:
    def load(*, shortlist: bool) -> OnnxNetwork:
        where, spec, threads = unfinished.directory, unfinished.spec, available_cores()
        return OnnxNetwork(where, spec, files, device="cpu", threads=threads, shortlist=shortlist)

    before, exported, special = TorchNetwork(network), load(shortlist=False), unfinished.special
    passages = unfinished.passages()
    if precision != "float32":  # rounding costs most on pairs of texts that are no translations, which nobody asks for
        passages = translated(before, passages, special) or passages
    found = parity.compare(before, exported, passages, special)
    parity.require(found, precision)
    if set(SHORTLIST) <= set(files):
        parity.require_shortlist(exported, load(shortlist=True), passages, special)
    own = translated(exported, passages, special)
    return Proof(found, alignment=choose_heads(unfinished.directory, exported, files, own, special))


def _compare_encoder(path: Path, network: Transformer, unfinished: UnfinishedBundle) -> Comparison | None:
    return original.compare_encoder(path, TorchEncoder(network), unfinished)


def _prove_encoder(network: Transformer, files: list[str], precision: str, unfinished: UnfinishedBundle) -> Proof:
    exported = OnnxEncoder(unfinished.directory, unfinished.spec, files, device="cpu", threads=available_cores())
    mask_id = None if unfinished.spec.output_transform is None else unfinished.conventions.mask_id
    found = encoder_parity.prove((TorchEncoder(network), exported), unfinished.rows(), unfinished.embedding, mask_id)
    encoder_parity.require(found, precision)
    return found


DECODER = ImportTask(compare=_compare, prove=_prove)
ENCODER = ImportTask(compare=_compare_encoder, prove=_prove_encoder)
TASKS: Mapping[str, ImportTask] = {"translate": DECODER, "generate": DECODER, "fill": ENCODER, "embed": ENCODER}
