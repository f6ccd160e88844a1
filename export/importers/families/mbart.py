"""mBART and mBART-50 (Liu et al., 2020, arXiv 2001.08210; Tang et al., 2020, arXiv 2008.00401)."""

import dataclasses

from heed.export.importers.families import bart
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned
from heed.models.spec.stack import NormSpec


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's."""
    for key in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        settings.only(key, True)
    norm = NormSpec(placement="before", last=True, embedding=True)
    positions = Learned(n_positions=settings.integer("max_position_embeddings", 1024), offset=2)
    return bart.translator(settings, tensors, norm, positions, scale_embedding=False, vocab_size=50265)


FAMILY = dataclasses.replace(bart.FAMILY, network=network)
