"""From a checkpoint of a known family to a network's description and its parameters."""

from heed.export.importers.families import bart, gpt2, llama, m2m100, marian, mbart, t5
from heed.export.importers.families.family import Family
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.weights import Imported
from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec

FAMILIES: dict[str, Family] = {  # by what a configuration calls them
    "bart": bart.FAMILY,
    "gpt2": gpt2.FAMILY,
    "llama": llama.LLAMA,
    "m2m_100": m2m100.FAMILY,
    "marian": marian.FAMILY,
    "mbart": mbart.FAMILY,
    "mistral": llama.MISTRAL,
    "mt5": t5.FAMILY,
    "qwen2": llama.QWEN2,
    "qwen3": llama.QWEN3,
    "t5": t5.FAMILY,
}


def read_network(checkpoint: Checkpoint) -> tuple[NetworkSpec, Imported]:
    """The network of a checkpoint, and its parameters, each read when it is asked for.

    Raises:
        ModelError: The checkpoint is damaged, or its network is none that heed can run.
    """
    family = FAMILIES.get(checkpoint.model_type)
    if family is None:
        known = ", ".join(FAMILIES)
        raise ModelError(f"{checkpoint.path}: model_type {checkpoint.model_type!r}, and heed imports {known}")
    return family.read(checkpoint.settings(), checkpoint.tensors)
