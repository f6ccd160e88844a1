"""Marian, as OPUS-MT publishes it (Junczys-Dowmunt et al., 2018, arXiv 1804.00344)."""

import dataclasses

from heed.export.importers.families import bart
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Sinusoidal
from heed.models.spec.stack import NormSpec


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's. Where the vocabularies are two, the output is the target's embedding."""
    for key in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        settings.only(key, False)
    settings.raw("max_position_embeddings")  # of a table of sinusoids, which heed makes as long as it needs
    shared = settings.flag("share_encoder_decoder_embeddings", True)
    n_target = settings.integer("decoder_vocab_size", settings.integer("vocab_size", 58101))
    spec = bart.translator(
        settings,
        tensors,
        NormSpec(),
        Sinusoidal(layout="halves"),
        scale_embedding=False,
        vocab_size=58101,
    )
    if shared:
        settings.only("decoder_vocab_size", spec.stacks["encoder"].vocab_size)
        return spec
    decoder = dataclasses.replace(spec.stacks["decoder"], vocab_size=n_target)
    return dataclasses.replace(spec, decoder=decoder, shared_embedding=False)


def copies(spec: NetworkSpec) -> dict[str, str]:
    """Tensors that may be there twice."""
    return bart.COPIES if spec.shared_embedding else {"lm_head.weight": "model.decoder.embed_tokens.weight"}


FAMILY = dataclasses.replace(
    bart.FAMILY, network=network, copies=copies, harmless=r"model\.(encoder|decoder)\.embed_positions\.weight"
)
