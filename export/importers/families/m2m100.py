"""M2M100 and NLLB (Fan et al., 2020, arXiv 2010.11125; NLLB Team, 2022, arXiv 2207.04672)."""

import dataclasses

from heed.export.importers.families import bart
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Sinusoidal
from heed.models.spec.stack import NormSpec


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's."""
    settings.only("normalize_before", True)
    settings.only("normalize_embedding", False)
    settings.only("add_final_layer_norm", True)
    settings.raw("max_position_embeddings")  # of a table of sinusoids, which heed makes as long as it needs
    norm = NormSpec(placement="before", last=True)
    positions = Sinusoidal(layout="halves", spacing="tensor2tensor", offset=2)
    return bart.translator(
        settings, tensors, norm, positions, scale_embedding=True, vocab_size=128112, activation="relu"
    )


FAMILY = dataclasses.replace(
    bart.FAMILY, network=network, harmless=r"model\.(encoder|decoder)\.embed_positions\.weights"
)
