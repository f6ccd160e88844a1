"""Llama, and those of its form: TinyLlama, SmolLM2, Mistral, Qwen2, Qwen3 (Touvron et al., 2023, arXiv 2302.13971)."""

import dataclasses
import re
from functools import partial

from heed.export.importers.families.bart import ACTIVATIONS
from heed.export.importers.families.family import Family, with_prefix
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import texts
from heed.export.importers.weights import TensorSource, apart
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Rotary, RotaryScaling
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

EMBEDDING = "model.embed_tokens.weight"
PARTS = {  # of a layer
    "self_attention.query": "self_attn.q_proj",
    "self_attention.key": "self_attn.k_proj",
    "self_attention.value": "self_attn.v_proj",
    "self_attention.output": "self_attn.o_proj",
    "self_attention.query_norm": "self_attn.q_norm",
    "self_attention.key_norm": "self_attn.k_norm",
    "self_residual.norm": "input_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.inner": "mlp.up_proj",
    "feed_forward.outer": "mlp.down_proj",
    "feed_residual.norm": "post_attention_layernorm",
}
WHOLE = {
    "tgt_embedding.weight": EMBEDDING,
    "decoder.norm.weight": "model.norm.weight",
    "projection.weight": "lm_head.weight",
}


def llama(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Llama's configuration as heed's."""
    settings.only("mlp_bias", False)
    settings.raw("pretraining_tp")  # parts of a product, summed up
    biases = settings.flag("attention_bias", False)
    attention = dataclasses.replace(_attention(settings), biases=biases, output_bias=biases)
    return _network(settings, tensors, attention)


def mistral(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Mistral's: each token sees the last ones alone, where a window is set."""
    window = settings.integer("sliding_window", 4096) if _says(settings, "sliding_window") else None
    return _network(settings, tensors, dataclasses.replace(_attention(settings), window=window))


def qwen2(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Qwen2's: biases of queries, keys and values, and not of the output."""
    _refuse_windows(settings)
    return _network(settings, tensors, dataclasses.replace(_attention(settings), biases=True))


def qwen3(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Qwen3's: each head's queries and keys are normed."""
    _refuse_windows(settings)
    biases = settings.flag("attention_bias", False)
    attention = dataclasses.replace(_attention(settings), biases=biases, output_bias=biases, qk_norm=True)
    return _network(settings, tensors, attention)


def _says(settings: Settings, key: str) -> bool:
    return settings.raw(key) is not None


def _refuse_windows(settings: Settings) -> None:
    """Some layers of these may have a window, where it is switched on."""
    settings.only("use_sliding_window", False)
    for key in ("sliding_window", "max_window_layers"):
        settings.raw(key)


def _attention(settings: Settings) -> AttentionSpec:
    n_heads, d_model = settings.integer("num_attention_heads", 32), settings.integer("hidden_size", 4096)
    if "head_dim" not in settings and (n_heads < 1 or d_model % n_heads):
        raise settings.wrong("num_attention_heads", f"a divisor of hidden_size {d_model}")
    return AttentionSpec(
        n_heads=n_heads,
        n_kv_heads=settings.integer("num_key_value_heads", n_heads),
        d_head=settings.integer("head_dim", d_model // max(n_heads, 1)),
    )


def _network(settings: Settings, tensors: Tensors, attention: AttentionSpec) -> NetworkSpec:
    layer_types = settings.raw("layer_types")
    windowed = "sliding_attention" if attention.window else "full_attention"
    if isinstance(layer_types, list) and set(map(str, layer_types)) - {windowed}:
        raise settings.wrong("layer_types", f"{windowed!r} everywhere")
    settings.flag("tie_word_embeddings", False)  # the file decides
    decoder = StackSpec(
        vocab_size=settings.integer("vocab_size", 32000),
        n_layers=settings.integer("num_hidden_layers", 32),
        attention=attention,
        feed_forward=FeedForwardSpec(
            d_ff=settings.integer("intermediate_size", 11008),
            activation=settings.choice("hidden_act", ACTIVATIONS, "silu"),
            gated=True,
            biases=False,
        ),
        norm=NormSpec(kind="rms", placement="before", eps=settings.number("rms_norm_eps", 1e-6), bias=False, last=True),
        positions=rotary(settings),
    )
    settings.refuse_unread({"rope_interleaved"} if settings.raw("rope_interleaved") is False else ())
    return NetworkSpec(
        d_model=settings.integer("hidden_size", 4096),
        encoder=None,
        decoder=decoder,
        scale_embedding=False,
        shared_embedding=False,
        tied_output=not apart(tensors, "lm_head.weight", EMBEDDING),
    )


def rotary(settings: Settings) -> Rotary:
    """The rotation: new files have one table `rope_parameters`, old ones `rope_theta` and `rope_scaling`."""
    n_positions = settings.integer("max_position_embeddings", 2048)
    table = settings.table("rope_parameters") or settings.table("rope_scaling")
    base = settings.number("rope_theta", 10000.0)
    if table is None:
        return Rotary(n_positions=n_positions, base=base)
    base = table.number("rope_theta", base)
    table.only("partial_rotary_factor", 1.0)
    scaling = _scaling(table, n_positions)
    table.refuse_unread()
    return Rotary(n_positions=n_positions, base=base, scaling=scaling)


def _scaling(table: Settings, n_positions: int) -> RotaryScaling | None:
    key = "rope_type" if "rope_type" in table else "type"
    table.raw("type")
    methods = {"default": "", "linear": "linear", "llama3": "llama3", "yarn": "yarn"}
    method = table.choice(key, methods, "default")
    if not method:
        return None
    usual = RotaryScaling(method=method, factor=table.number("factor"))
    original = table.integer("original_max_position_embeddings", n_positions)
    if method == "linear":
        return usual
    if method == "llama3":
        return dataclasses.replace(
            usual,
            original_positions=original,
            low_frequency_factor=table.number("low_freq_factor"),
            high_frequency_factor=table.number("high_freq_factor"),
        )
    table.only("truncate", True)
    for extra in ("mscale", "mscale_all_dim"):
        table.only(extra, 0)
    return dataclasses.replace(
        usual,
        original_positions=original,
        beta_fast=table.number("beta_fast", 32.0),
        beta_slow=table.number("beta_slow", 1.0),
        attention_factor=table.number("attention_factor") if "attention_factor" in table else None,
    )


def origin(parameter: str, spec: NetworkSpec) -> TensorSource:  # noqa: ARG001 - every form has the same names
    """Where a parameter is in a checkpoint."""
    if parameter in WHOLE:
        return TensorSource(WHOLE[parameter])
    found = re.fullmatch(r"decoder\.layers\.(\d+)\.(\w+\.\w+)\.(weight|bias)", parameter)
    assert found
    number, part, kind = found.groups()
    return TensorSource(f"model.layers.{number}.{PARTS[part]}.{kind}")


LLAMA = Family(
    vocabulary=texts,
    network=llama,
    origin=origin,
    normal=partial(with_prefix, prefix="model.", heads=("lm_head.",)),
    copies=lambda _: {"lm_head.weight": EMBEDDING},
    harmless=r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",  # which follow from the configuration
)
MISTRAL = dataclasses.replace(LLAMA, network=mistral)
QWEN2 = dataclasses.replace(LLAMA, network=qwen2)
QWEN3 = dataclasses.replace(LLAMA, network=qwen3)
