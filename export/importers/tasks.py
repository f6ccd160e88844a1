"""Tasks of imported models: a record for each, of how they are compared."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from heed.export.alignment_heads import choose_heads, translated
from heed.export.importers import original
from heed.export.importers.texts import Draft
from heed.export.proof import encoder_parity, parity
from heed.export.proof.encoder_parity import Proof
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

    compare: Callable[[Path, Transformer, Draft], Comparison | None]  # the network with the original
    prove: Callable[[Transformer, list[str], str, Draft], Proof]  # graphs of a precision with the network


def _compare(path: Path, network: Transformer, draft: Draft) -> Comparison | None:
    return original.compare(path, TorchNetwork(network), draft)


def _prove(network: Transformer, files: list[str], precision: str, draft: Draft) -> Proof:
    exported = OnnxNetwork(draft.directory, draft.spec, files, device="cpu", threads=available_cores())
    passages, special = draft.passages(), draft.special
    found = parity.compare(TorchNetwork(network), exported, passages, special)
    parity.require(found, precision)
    own = translated(exported, passages, special)
    return Proof(found, alignment=choose_heads(draft.directory, exported, files, own, special))


def _compare_encoder(path: Path, network: Transformer, draft: Draft) -> Comparison | None:
    return original.compare_encoder(path, TorchEncoder(network), draft)


def _prove_encoder(network: Transformer, files: list[str], precision: str, draft: Draft) -> Proof:
    exported = OnnxEncoder(draft.directory, draft.spec, files, device="cpu", threads=available_cores())
    mask_id = None if draft.spec.output_transform is None else draft.conventions.mask_id
    found = encoder_parity.prove((TorchEncoder(network), exported), draft.rows(), draft.embedding, mask_id)
    encoder_parity.require(found, precision)
    return found


DECODER = ImportTask(compare=_compare, prove=_prove)
ENCODER = ImportTask(compare=_compare_encoder, prove=_prove_encoder)
TASKS: Mapping[str, ImportTask] = {"translate": DECODER, "generate": DECODER, "fill": ENCODER, "embed": ENCODER}
