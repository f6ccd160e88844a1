"""BART, and what its relatives share with it: Marian, M2M100, mBART (Lewis et al., 2019, arXiv 1910.13461)."""

import re
from functools import partial

import numpy as np

from heed.export.importers.families.family import Family, with_prefix
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import (
    Vocabulary,
    ends,
    forced,
    library_file,
    library_rows,
    one_id,
    suppressed,
)
from heed.export.importers.weights import TensorSource
from heed.models.arrays import FloatArray
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned, PositionSpec, Sinusoidal
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.models.tokenizers.files import FILE

ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
PARTS = {  # of a layer
    "self_attention.query": "self_attn.q_proj",
    "self_attention.key": "self_attn.k_proj",
    "self_attention.value": "self_attn.v_proj",
    "self_attention.output": "self_attn.out_proj",
    "self_residual.norm": "self_attn_layer_norm",
    "cross_attention.query": "encoder_attn.q_proj",
    "cross_attention.key": "encoder_attn.k_proj",
    "cross_attention.value": "encoder_attn.v_proj",
    "cross_attention.output": "encoder_attn.out_proj",
    "cross_residual.norm": "encoder_attn_layer_norm",
    "feed_forward.inner": "fc1",
    "feed_forward.outer": "fc2",
    "feed_residual.norm": "final_layer_norm",
}
OF_STACK = {"embedding_norm": "layernorm_embedding", "norm": "layer_norm", "positions": "embed_positions"}
SHARED = "model.shared.weight"
COPIES = {
    "model.encoder.embed_tokens.weight": SHARED,
    "model.decoder.embed_tokens.weight": SHARED,
    "lm_head.weight": SHARED,
}
# Keys of old files that transformers does not read, either.
UNUSED = {"num_hidden_layers", "add_bias_logits"}


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """BART's configuration as heed's."""
    for key, value in {"normalize_before": False, "normalize_embedding": True, "add_final_layer_norm": False}.items():
        settings.only(key, value)
    norm = NormSpec(embedding=True)
    positions = Learned(n_positions=settings.integer("max_position_embeddings", 1024), offset=2)
    return translator(settings, tensors, norm, positions, scale_embedding=False, vocab_size=50265)


def translator(
    settings: Settings,
    tensors: Tensors,
    norm: NormSpec,
    positions: PositionSpec,
    *,
    scale_embedding: bool,
    vocab_size: int,
    activation: str = "gelu",
) -> NetworkSpec:
    """What the relatives' configurations have in common.

    Args:
        settings: The configuration.
        tensors: Of the checkpoint.
        norm: Of both stacks.
        positions: Of both stacks.
        scale_embedding: Where the configuration does not say.
        vocab_size: Where the configuration does not say.
        activation: Where the configuration does not say.
    """
    settings.only("tie_word_embeddings", True)
    settings.only("is_decoder", False)
    settings.only("static_position_embeddings", isinstance(positions, Sinusoidal))
    settings.only("extra_pos_embeddings", 2)
    vocab_size = settings.integer("vocab_size", vocab_size)
    d_model = settings.integer("d_model", 1024)
    activation = settings.choice("activation_function", ACTIVATIONS, activation)
    spec = NetworkSpec(
        d_model=d_model,
        encoder=_stack(settings, "encoder", d_model, vocab_size, activation, norm, positions),
        decoder=_stack(settings, "decoder", d_model, vocab_size, activation, norm, positions),
        scale_embedding=settings.flag("scale_embedding", scale_embedding),
        output_bias="final_logits_bias" in tensors,
    )
    settings.refuse_unread(UNUSED)
    return spec


def _stack(
    settings: Settings,
    name: str,
    d_model: int,
    vocab_size: int,
    activation: str,
    norm: NormSpec,
    positions: PositionSpec,
) -> StackSpec:
    n_heads = settings.integer(f"{name}_attention_heads", 16)
    if n_heads < 1 or d_model % n_heads:
        raise settings.wrong(f"{name}_attention_heads", f"a divisor of d_model {d_model}")
    d_head = d_model // n_heads
    d_ff = settings.integer(f"{name}_ffn_dim", 4096)
    return StackSpec(
        vocab_size=vocab_size,
        n_layers=settings.integer(f"{name}_layers", 12),
        attention=AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, d_head=d_head, biases=True, output_bias=True),
        feed_forward=FeedForwardSpec(d_ff=d_ff, activation=activation),
        norm=norm,
        positions=positions,
    )


def origin(parameter: str, spec: NetworkSpec) -> TensorSource:
    """Where a parameter is in a checkpoint."""
    if parameter == "projection.bias":
        return TensorSource("final_logits_bias", _flat)
    if parameter == "src_embedding.weight":
        return TensorSource(SHARED if spec.shared_embedding else "model.encoder.embed_tokens.weight")
    if parameter == "tgt_embedding.weight":
        return TensorSource("model.decoder.embed_tokens.weight")
    if found := re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(\w+\.\w+)\.(weight|bias)", parameter):
        stack, number, part, kind = found.groups()
        return TensorSource(f"model.{stack}.layers.{number}.{PARTS[part]}.{kind}")
    stack, part, kind = parameter.split(".")
    return TensorSource(f"model.{stack}.{OF_STACK[part]}.{kind}")


def _flat(array: FloatArray) -> FloatArray:
    return np.ravel(array)


def vocabulary(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """BART's byte-level pieces, between `<s>` and `</s>`."""
    data, n_rows = library_file(checkpoint), spec.stacks["decoder"].vocab_size
    conventions = Conventions(
        tokenizer="library",
        start_id=one_id(checkpoint, "decoder_start_token_id", "eos_token_id"),
        ends=ends(checkpoint),
        pad_id=one_id(checkpoint, "pad_token_id"),
        before=(one_id(checkpoint, "bos_token_id"),),
        prefix=checkpoint.prefix,
        forced=forced(checkpoint),
        suppressed=suppressed(checkpoint, library_rows(data, n_rows, checkpoint)),
    )
    return Vocabulary(conventions, {FILE: data})


FAMILY = Family(
    vocabulary=vocabulary,
    network=network,
    origin=origin,
    normal=partial(with_prefix, prefix="model.", heads=("lm_head.", "final_logits_bias")),
    copies=lambda _: COPIES,
    harmless=r"model\.(encoder|decoder)\.version",
)
