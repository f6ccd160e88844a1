"""XLNet as an encoder: one text, seen in both directions, without memory (Yang et al., 2019, arXiv 1906.08237)."""

import re
from functools import partial

from heed.export.importers.families.bart import ACTIVATIONS
from heed.export.importers.families.family import Family, with_prefix
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.reading import unigram
from heed.export.importers.weights import TensorSource
from heed.models.arrays import FloatArray
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import RelativeSinusoids
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

PREFIX = "transformer."
WORDS = f"{PREFIX}word_embedding.weight"
# What predicts tokens in an order of their own, which heed does not.
HARMLESS = rf"{re.escape(PREFIX)}mask_emb|lm_loss\.(weight|bias)"
UNUSED = {  # of memory, of training, and of layers behind the network
    *("mem_len", "reuse_len", "use_mems_eval", "use_mems_train", "use_mems", "same_length", "untie_r"),
    *("summary_last_dropout", "start_n_top", "end_n_top", "tie_word_embeddings"),
}
PARTS = {  # of a layer, as they stand
    "self_residual.norm": "rel_attn.layer_norm",
    "feed_forward.inner": "ff.layer_1",
    "feed_forward.outer": "ff.layer_2",
    "feed_residual.norm": "ff.layer_norm",
}
MATRICES = {  # (D, H, K)
    "self_attention.query.weight": "q",
    "self_attention.key.weight": "k",
    "self_attention.value.weight": "v",
    "self_attention.relative.distance.weight": "r",
    "self_attention.output.weight": "o",
}
VECTORS = {  # (H, K); of segments for the same and for another one, (2, H, K)
    "self_attention.relative.content_bias": "r_w_bias",
    "self_attention.relative.distance_bias": "r_r_bias",
    "self_attention.relative.segment_bias": "r_s_bias",
    "self_attention.relative.segment": "seg_embed",
}


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:  # noqa: ARG001 - the configuration says it all
    """The configuration as heed's."""
    settings.only("attn_type", "bi")
    settings.only("bi_data", False)
    settings.only("clamp_len", -1, 0)
    settings.only("summary_type", "last")
    d_model, n_heads = settings.integer("d_model", 1024), settings.integer("n_head", 16)
    if n_heads < 1 or d_model % n_heads:
        raise settings.wrong("n_head", f"a divisor of d_model {d_model}")
    d_head = settings.integer("d_head", d_model // n_heads)
    activation = settings.choice("ff_activation", ACTIVATIONS, "gelu")
    encoder = StackSpec(
        vocab_size=settings.integer("vocab_size", 32000),
        n_layers=settings.integer("n_layer", 24),
        attention=AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, d_head=d_head),
        feed_forward=FeedForwardSpec(d_ff=settings.integer("d_inner", 4096), activation=activation),
        norm=NormSpec(eps=settings.number("layer_norm_eps", 1e-12)),
        positions=RelativeSinusoids(last_apart=True),
    )
    settings.refuse_unread(UNUSED)
    return NetworkSpec(d_model=d_model, encoder=encoder, decoder=None, scale_embedding=False)


def origin(parameter: str, spec: NetworkSpec) -> TensorSource:
    """Where a parameter is in a checkpoint."""
    if parameter == "src_embedding.weight":
        return TensorSource(WORDS)
    found = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", parameter)
    assert found, parameter
    number, part = found.groups()
    layer = f"{PREFIX}layer.{number}"
    if part in MATRICES:
        name = MATRICES[part]
        return TensorSource(f"{layer}.rel_attn.{name}", partial(_matrix, turned=name != "o", d_model=spec.d_model))
    if part in VECTORS:
        return TensorSource(f"{layer}.rel_attn.{VECTORS[part]}", _vector)
    name, _, kind = part.rpartition(".")
    return TensorSource(f"{layer}.{PARTS[name]}.{kind}")


def _matrix(stored: FloatArray, *, turned: bool, d_model: int) -> FloatArray:
    """A matrix (D, H, K) as one of (H · K, D) if `turned`, else of (D, H · K)."""
    matrix = stored.reshape(d_model, -1)
    return matrix.T if turned else matrix


def _vector(stored: FloatArray) -> FloatArray:
    """A vector of each head, (H · K,).

    What is added to the scores of all keys of a query does not change attention. So of a vector for the same segment
    and one for another, the difference is enough.
    """
    return (stored[1] - stored[0] if stored.ndim > 2 else stored).reshape(-1)


FAMILY = Family(
    vocabulary=unigram,
    network=network,
    origin=origin,
    normal=partial(with_prefix, prefix=PREFIX, heads=("lm_loss.",)),
    copies=lambda _: {},
    harmless=HARMLESS,
    pooling="last",
)
