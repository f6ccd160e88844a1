"""GPT-2 (Radford et al., 2019)."""

import re
from functools import partial

import numpy as np

from heed.export.importers.families.bart import ACTIVATIONS
from heed.export.importers.families.family import Family, with_prefix
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import texts
from heed.export.importers.weights import TensorSource, apart
from heed.models.arrays import FloatArray
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

EMBEDDING = "transformer.wte.weight"
PARTS = {  # of a layer
    "self_attention.output": "attn.c_proj",
    "self_residual.norm": "ln_1",
    "feed_forward.inner": "mlp.c_fc",
    "feed_forward.outer": "mlp.c_proj",
    "feed_residual.norm": "ln_2",
}
WHOLE = {
    "tgt_embedding.weight": EMBEDDING,
    "decoder.positions.weight": "transformer.wpe.weight",
    "decoder.norm.weight": "transformer.ln_f.weight",
    "decoder.norm.bias": "transformer.ln_f.bias",
    "projection.weight": "lm_head.weight",
}


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's."""
    settings.only("scale_attn_by_inverse_layer_idx", False)
    settings.only("add_cross_attention", False)
    scaled = settings.flag("scale_attn_weights", True)
    d_model, n_heads = settings.integer("n_embd", 768), settings.integer("n_head", 12)
    if n_heads < 1 or d_model % n_heads:
        raise settings.wrong("n_head", f"a divisor of n_embd {d_model}")
    n_positions = settings.integer("n_positions", 1024)
    settings.only("n_ctx", n_positions)
    settings.flag("tie_word_embeddings", True)  # the file decides
    decoder = StackSpec(
        vocab_size=settings.integer("vocab_size", 50257),
        n_layers=settings.integer("n_layer", 12),
        attention=AttentionSpec(
            n_heads=n_heads,
            n_kv_heads=n_heads,
            d_head=d_model // n_heads,
            biases=True,
            output_bias=True,
            scale=None if scaled else 1.0,
        ),
        feed_forward=FeedForwardSpec(
            d_ff=settings.integer("n_inner", 4 * d_model),
            activation=settings.choice("activation_function", ACTIVATIONS, "gelu_new"),
        ),
        norm=NormSpec(placement="before", eps=settings.number("layer_norm_epsilon", 1e-5), last=True),
        positions=Learned(n_positions=n_positions),
    )
    settings.refuse_unread({"reorder_and_upcast_attn"})  # another order of the same products
    return NetworkSpec(
        d_model=d_model,
        encoder=None,
        decoder=decoder,
        scale_embedding=False,
        shared_embedding=False,
        tied_output=not apart(tensors, "lm_head.weight", EMBEDDING),
    )


def origin(parameter: str, spec: NetworkSpec) -> TensorSource:  # noqa: ARG001 - every form has the same names
    """Where a parameter is in a checkpoint, whose matrices are (inputs, outputs)."""
    if parameter in WHOLE:
        return TensorSource(WHOLE[parameter])
    found = re.fullmatch(r"decoder\.layers\.(\d+)\.(\w+\.(\w+))\.(weight|bias)", parameter)
    assert found
    number, part, projection, kind = found.groups()
    if projection in ("query", "key", "value"):
        third = partial(_third, place=("query", "key", "value").index(projection))
        return TensorSource(f"transformer.h.{number}.attn.c_attn.{kind}", third)
    matrix = kind == "weight" and projection != "norm"
    return TensorSource(f"transformer.h.{number}.{PARTS[part]}.{kind}", np.transpose if matrix else None)


def _third(array: FloatArray, place: int) -> FloatArray:
    """Of queries, keys and values side by side one part."""
    return np.array_split(array, 3, axis=-1)[place].T


FAMILY = Family(
    vocabulary=texts,
    network=network,
    origin=origin,
    normal=partial(with_prefix, prefix="transformer.", heads=("lm_head.",)),
    copies=lambda _: {"lm_head.weight": EMBEDDING},
    harmless=r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",  # masks
)
