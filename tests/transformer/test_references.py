"""Networks of other people's forms, as Hugging Face's transformers computes them: what importers will rest on.

Their own initialization hides mistakes (biases 0, norms 1, weights near 0), so every weight is drawn with deviation
0.3, and every number that may differ from its default does. Each family is a description and a map of names.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.testing import assert_close

from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned, RelativeBuckets, Rotary, RotaryScaling, Sinusoidal
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

V, S, T = 41, 30, 37
Names = Mapping[str, str]  # patterns of their names, and ours


@torch.no_grad()
def drawn(reference: nn.Module) -> Any:
    torch.manual_seed(5)
    for name, parameter in reference.named_parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.dim() == 1 and name.endswith("weight")))
    for name, buffer in reference.named_buffers():
        if name == "final_logits_bias":
            buffer.copy_(torch.randn_like(buffer))
    return reference.eval()


def ours(spec: NetworkSpec, state: Mapping[str, Tensor], names: Names) -> Transformer:
    """Our network with their weights: each of theirs is used, and each of ours is there."""
    network, found = Transformer(spec).eval(), dict[str, Tensor]()
    for name, tensor in state.items():
        mine = [re.sub(f"^{pattern}$", to, name) for pattern, to in names.items() if re.match(f"^{pattern}$", name)]
        assert mine, f"{name} has no place"
        found |= {mine[0]: tensor} if mine[0] else {}
    network.load_state_dict(found)
    return network


def ids(*shape: int) -> Tensor:
    return torch.randint(3, V, shape)


def padded_source() -> Tensor:
    src = ids(3, S)
    src[1, 20:] = 0
    src[2, 1:] = 0
    return src


def same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.3
    assert_close(found.log_softmax(-1), expected.log_softmax(-1), rtol=1e-4, atol=1e-4)


ATTENTION = {"q": "query", "k": "key", "v": "value", "out": "output", "o": "output"}


def projections(before: str, theirs: str, after: str, to: str) -> dict[str, str]:
    """Patterns for the projections of an attention, each by their letter."""
    return {rf"{before}{theirs.format(letter)}{after}": rf"{to}.{name}.\2" for letter, name in ATTENTION.items()}


# An encoder with a decoder

BART_LAYER = r"model\.(encoder|decoder)\.layers\.(\d+)\."
BART_PARTS = {
    **{rf"self_attn\.{letter}_proj": f"self_attention.{name}" for letter, name in ATTENTION.items()},
    **{rf"encoder_attn\.{letter}_proj": f"cross_attention.{name}" for letter, name in ATTENTION.items()},
    "self_attn_layer_norm": "self_residual.norm",
    "encoder_attn_layer_norm": "cross_residual.norm",
    "fc1": "feed_forward.inner",
    "fc2": "feed_forward.outer",
    "final_layer_norm": "feed_residual.norm",
}
BART: Names = {
    r"model\.shared\.weight": "src_embedding.weight",
    r"model\.(encoder|decoder)\.embed_tokens\.weight|lm_head\.weight": "",
    "final_logits_bias": "projection.bias",
    r"model\.(encoder|decoder)\.embed_positions\.weight": r"\1.positions.weight",
    r"model\.(encoder|decoder)\.layernorm_embedding\.(\w+)": r"\1.embedding_norm.\2",
    r"model\.(encoder|decoder)\.layer_norm\.(\w+)": r"\1.norm.\2",
    **{rf"{BART_LAYER}{theirs}\.(\w+)": rf"\1.layers.\2.{mine}.\3" for theirs, mine in BART_PARTS.items()},
}


def bart_spec(
    placement: str, activation: str, positions: Any, *, scaled: bool, embedding_norm: bool, bias: bool = True
) -> NetworkSpec:
    norm = NormSpec(placement=placement, last=placement == "before", embedding=embedding_norm)

    def stack(n_layers: int, n_heads: int, d_ff: int) -> StackSpec:
        return StackSpec(
            vocab_size=V,
            n_layers=n_layers,
            attention=AttentionSpec(
                n_heads=n_heads, n_kv_heads=n_heads, d_head=32 // n_heads, biases=True, output_bias=True
            ),
            feed_forward=FeedForwardSpec(d_ff=d_ff, activation=activation),
            norm=norm,
            positions=positions,
        )

    return NetworkSpec(
        d_model=32, encoder=stack(2, 4, 40), decoder=stack(3, 2, 56), scale_embedding=scaled, output_bias=bias
    )


BART_SIZES: dict[str, Any] = {
    "vocab_size": V,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 56,
    "max_position_embeddings": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}


def translated(reference: Any, src: Tensor, tgt: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = reference(input_ids=src, attention_mask=(src != 0).long(), decoder_input_ids=tgt).logits
    return found


def bart() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.BartConfig(**BART_SIZES, scale_embedding=False, activation_function="gelu")
    spec = bart_spec("after", "gelu", Learned(n_positions=50, offset=2), scaled=False, embedding_norm=True)
    return drawn(transformers.BartForConditionalGeneration(config)), spec, BART


def mbart() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.MBartConfig(**BART_SIZES, scale_embedding=True, activation_function="gelu")
    spec = bart_spec("before", "gelu", Learned(n_positions=50, offset=2), scaled=True, embedding_norm=True)
    return drawn(transformers.MBartForConditionalGeneration(config)), spec, BART


def marian() -> tuple[Any, NetworkSpec, Names]:
    """Its positions are computed, though they stand among the weights."""
    config = transformers.MarianConfig(**BART_SIZES, scale_embedding=True, activation_function="swish")
    reference = transformers.MarianMTModel(config)
    tables = {name: each.clone() for name, each in reference.state_dict().items() if "embed_positions" in name}
    drawn(reference).load_state_dict(tables, strict=False)
    spec = bart_spec("after", "silu", Sinusoidal(layout="halves"), scaled=True, embedding_norm=False)
    return reference, spec, {**BART, r"model\.(encoder|decoder)\.embed_positions\.weight": ""}


def m2m100() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.M2M100Config(**BART_SIZES, scale_embedding=True, activation_function="relu")
    positions = Sinusoidal(layout="halves", spacing="tensor2tensor", offset=1)  # of its padding token, and one more
    spec = bart_spec("before", "relu", positions, scaled=True, embedding_norm=False, bias=False)
    return drawn(transformers.M2M100ForConditionalGeneration(config)), spec, BART


T5_PARTS = {
    **{rf"layer\.0\.SelfAttention\.{letter}": f"self_attention.{name}" for letter, name in ATTENTION.items()},
    **{rf"layer\.1\.EncDecAttention\.{letter}": f"cross_attention.{name}" for letter, name in ATTENTION.items()},
    r"layer\.0\.layer_norm": "self_residual.norm",
    r"layer\.[12]\.DenseReluDense\.(?:wi|wi_1)": "feed_forward.inner",
    r"layer\.[12]\.DenseReluDense\.wi_0": "feed_forward.gate",
    r"layer\.[12]\.DenseReluDense\.wo": "feed_forward.outer",
}
T5_BIAS = r"(encoder|decoder)\.block\.0\.layer\.0\.SelfAttention\.relative_attention_bias\.weight"
T5_LAYER = r"(encoder|decoder)\.block\.(\d+)\."
T5: Names = {
    r"shared\.weight": "src_embedding.weight",
    r"(encoder|decoder)\.embed_tokens\.weight": "",
    T5_BIAS: r"\1.relative_bias.weight",
    r"(encoder|decoder)\.final_layer_norm\.weight": r"\1.norm.weight",
    r"decoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight": r"decoder.layers.\1.cross_residual.norm.weight",
    r"decoder\.block\.(\d+)\.layer\.2\.layer_norm\.weight": r"decoder.layers.\1.feed_residual.norm.weight",
    r"encoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight": r"encoder.layers.\1.feed_residual.norm.weight",
    **{rf"{T5_LAYER}{theirs}\.weight": rf"\1.layers.\2.{mine}.weight" for theirs, mine in T5_PARTS.items()},
}


def t5_spec(activation: str, *, gated: bool, tied: bool) -> NetworkSpec:
    def stack(n_layers: int) -> StackSpec:
        return StackSpec(
            vocab_size=V,
            n_layers=n_layers,
            attention=AttentionSpec(n_heads=4, n_kv_heads=4, d_head=6, scale=1.0),
            feed_forward=FeedForwardSpec(d_ff=40, activation=activation, gated=gated, biases=False),
            norm=NormSpec(kind="rms", placement="before", eps=1e-3, last=True),
            positions=RelativeBuckets(n_buckets=8, max_distance=20),
        )

    return NetworkSpec(
        d_model=32,
        encoder=stack(2),
        decoder=stack(3),
        scale_embedding=False,
        tied_output=tied,
        output_scale=32**-0.5 if tied else None,
    )


T5_SIZES: dict[str, Any] = {
    "vocab_size": V,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-3,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}


def t5() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.T5Config(**T5_SIZES, feed_forward_proj="relu")
    names = {r"lm_head\.weight": "", **T5}
    return drawn(transformers.T5ForConditionalGeneration(config)), t5_spec("relu", gated=False, tied=True), names


def t5_v1_1() -> tuple[Any, NetworkSpec, Names]:
    """Its output has a matrix of its own, which transformers 5 holds apart and scales unless told not to."""
    config = transformers.T5Config(**T5_SIZES, feed_forward_proj="gated-gelu", scale_decoder_outputs=False)
    reference = transformers.T5ForConditionalGeneration(config)
    reference.lm_head.weight = nn.Parameter(torch.empty(V, 32))
    names = {r"lm_head\.weight": "projection.weight", **T5}
    return drawn(reference), t5_spec("gelu_tanh", gated=True, tied=False), names


@pytest.mark.parametrize("family", [bart, mbart, marian, m2m100, t5, t5_v1_1], ids=lambda family: family.__name__)
def test_translations_have_their_logits(family: Callable[[], tuple[Any, NetworkSpec, Names]]) -> None:
    reference, spec, names = family()
    state = {name: each[0] if name == "final_logits_bias" else each for name, each in reference.state_dict().items()}
    network = ours(spec, state, names)
    src, tgt = padded_source(), ids(3, T)
    with torch.inference_mode():
        same(network(src, padding_mask(src, 0), tgt), translated(reference, src, tgt))


# A decoder alone


def decoder_spec(output: dict[str, Any], **stack: Any) -> NetworkSpec:
    decoder = StackSpec(vocab_size=V, n_layers=3, **stack)
    return NetworkSpec(d_model=32, encoder=None, decoder=decoder, scale_embedding=False, **output)


GPT2_PARTS = {
    "ln_1": "self_residual.norm",
    "ln_2": "feed_residual.norm",
    r"attn\.c_proj": "self_attention.output",
    r"mlp\.c_fc": "feed_forward.inner",
    r"mlp\.c_proj": "feed_forward.outer",
    **{rf"attn\.{name}": f"self_attention.{name}" for name in ("query", "key", "value")},
}
GPT2: Names = {
    r"transformer\.wte\.weight": "tgt_embedding.weight",
    r"transformer\.wpe\.weight": "decoder.positions.weight",
    r"transformer\.ln_f\.(\w+)": r"decoder.norm.\1",
    r"lm_head\.weight": "",
    **{
        rf"transformer\.h\.(\d+)\.{theirs}\.(\w+)": rf"decoder.layers.\1.{mine}.\2"
        for theirs, mine in GPT2_PARTS.items()
    },
}


def turned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GPT-2's matrices are stored transposed, and those of queries, keys and values side by side."""
    found = {}
    for name, tensor in state.items():
        matrix = tensor.t() if ".h." in name and tensor.dim() == 2 else tensor
        if "c_attn" in name:
            parts = zip(("query", "key", "value"), matrix.chunk(3), strict=True)
            found |= {name.replace("c_attn", part): each for part, each in parts}
        else:
            found[name] = matrix
    return found


def gpt2() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=32, n_layer=3, n_head=4, n_inner=56, n_positions=50, layer_norm_epsilon=1e-3,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    spec = decoder_spec(
        {},
        attention=AttentionSpec(n_heads=4, n_kv_heads=4, d_head=8, biases=True, output_bias=True),
        feed_forward=FeedForwardSpec(d_ff=56, activation="gelu_tanh"),
        norm=NormSpec(placement="before", last=True, eps=1e-3),
        positions=Learned(n_positions=50),
    )
    return drawn(transformers.GPT2LMHeadModel(config)), spec, GPT2


LLAMA_PARTS = {
    "input_layernorm": "self_residual.norm",
    "post_attention_layernorm": "feed_residual.norm",
    **{rf"self_attn\.{letter}_proj": f"self_attention.{name}" for letter, name in ATTENTION.items()},
    r"self_attn\.q_norm": "self_attention.query_norm",
    r"self_attn\.k_norm": "self_attention.key_norm",
    r"mlp\.gate_proj": "feed_forward.gate",
    r"mlp\.up_proj": "feed_forward.inner",
    r"mlp\.down_proj": "feed_forward.outer",
}
LLAMA: Names = {
    r"model\.embed_tokens\.weight": "tgt_embedding.weight",
    r"model\.norm\.weight": "decoder.norm.weight",
    r"lm_head\.weight": "projection.weight",
    **{
        rf"model\.layers\.(\d+)\.{theirs}\.(\w+)": rf"decoder.layers.\1.{mine}.\2"
        for theirs, mine in LLAMA_PARTS.items()
    },
}
LLAMA_SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def llama_spec(positions: Rotary, *, d_head: int = 8, tied: bool = False, **attention: Any) -> NetworkSpec:
    return decoder_spec(
        {"tied_output": tied},
        attention=AttentionSpec(n_heads=4, n_kv_heads=2, d_head=d_head, **attention),
        feed_forward=FeedForwardSpec(d_ff=56, activation="silu", gated=True, biases=False),
        norm=NormSpec(kind="rms", placement="before", last=True, eps=1e-3),
        positions=positions,
    )


def llama(rope: dict[str, Any], scaling: RotaryScaling | None) -> tuple[Any, NetworkSpec, Names]:
    config = transformers.LlamaConfig(**LLAMA_SIZES, head_dim=10, rope_parameters={"rope_theta": 700.0, **rope})
    positions = Rotary(n_positions=64, base=700.0, scaling=scaling)
    return drawn(transformers.LlamaForCausalLM(config)), llama_spec(positions, d_head=10), LLAMA


def llama_plain() -> tuple[Any, NetworkSpec, Names]:
    return llama({"rope_type": "default"}, None)


def llama_linear() -> tuple[Any, NetworkSpec, Names]:
    return llama({"rope_type": "linear", "factor": 3.0}, RotaryScaling(method="linear", factor=3.0))


def llama_3() -> tuple[Any, NetworkSpec, Names]:
    rope = {"low_freq_factor": 1.5, "high_freq_factor": 3.0, "original_max_position_embeddings": 40}
    scaling = RotaryScaling(
        method="llama3", factor=5.0, original_positions=40, low_frequency_factor=1.5, high_frequency_factor=3.0
    )
    return llama({"rope_type": "llama3", "factor": 5.0, **rope}, scaling)


def llama_yarn() -> tuple[Any, NetworkSpec, Names]:
    rope = {"beta_fast": 6.0, "beta_slow": 1.2, "original_max_position_embeddings": 32}
    scaling = RotaryScaling(method="yarn", factor=4.0, original_positions=32, beta_fast=6.0, beta_slow=1.2)
    return llama({"rope_type": "yarn", "factor": 4.0, **rope}, scaling)


def mistral() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.MistralConfig(**LLAMA_SIZES, head_dim=8, sliding_window=9, attn_implementation="eager")
    spec = llama_spec(Rotary(n_positions=64), window=9)
    return drawn(transformers.MistralForCausalLM(config)), spec, LLAMA


def qwen2() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.Qwen2Config(**LLAMA_SIZES, tie_word_embeddings=True)
    names = LLAMA | {r"lm_head\.weight": ""}
    return (
        drawn(transformers.Qwen2ForCausalLM(config)),
        llama_spec(Rotary(n_positions=64), tied=True, biases=True),
        names,
    )


def qwen3() -> tuple[Any, NetworkSpec, Names]:
    config = transformers.Qwen3Config(**LLAMA_SIZES, head_dim=12)
    return (
        drawn(transformers.Qwen3ForCausalLM(config)),
        llama_spec(Rotary(n_positions=64), d_head=12, qk_norm=True),
        LLAMA,
    )


DECODERS = [gpt2, llama_plain, llama_linear, llama_3, llama_yarn, mistral, qwen2, qwen3]


@pytest.mark.parametrize("family", DECODERS, ids=lambda family: family.__name__)
def test_texts_have_their_logits(family: Callable[[], tuple[Any, NetworkSpec, Names]]) -> None:
    reference, spec, names = family()
    network, tgt = ours(spec, turned(reference.state_dict()), names), ids(3, T)
    with torch.inference_mode():
        same(network(tgt=tgt), reference(tgt).logits)


# An encoder alone

BERT_PARTS = {
    r"attention\.self\.(query|key|value)": r"self_attention.\2",
    r"attention\.output\.dense": "self_attention.output",
    r"attention\.output\.LayerNorm": "self_residual.norm",
    r"intermediate\.dense": "feed_forward.inner",
    r"output\.dense": "feed_forward.outer",
    r"output\.LayerNorm": "feed_residual.norm",
}


def test_bert_has_its_states() -> None:
    """Its segments all are the first: that one's vector belongs to each word's."""
    config = transformers.BertConfig(
        vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=56,
        max_position_embeddings=50, layer_norm_eps=1e-3, pad_token_id=0,
    )  # fmt: skip
    reference = drawn(transformers.BertModel(config, add_pooling_layer=False))
    spec = NetworkSpec(
        d_model=32,
        encoder=StackSpec(
            vocab_size=V,
            n_layers=3,
            attention=AttentionSpec(n_heads=4, n_kv_heads=4, d_head=8, biases=True, output_bias=True),
            feed_forward=FeedForwardSpec(d_ff=56, activation="gelu"),
            norm=NormSpec(eps=1e-3, embedding=True),
            positions=Learned(n_positions=50),
        ),
        decoder=None,
        scale_embedding=False,
    )
    state = dict(reference.state_dict())
    state["embeddings.word_embeddings.weight"] = (
        state["embeddings.word_embeddings.weight"] + state.pop("embeddings.token_type_embeddings.weight")[0]
    )
    names = {
        r"embeddings\.word_embeddings\.weight": "src_embedding.weight",
        r"embeddings\.position_embeddings\.weight": "encoder.positions.weight",
        r"embeddings\.LayerNorm\.(\w+)": r"encoder.embedding_norm.\1",
        **{
            rf"encoder\.layer\.(\d+)\.{theirs}\.(\w+)": rf"encoder.layers.\1.{mine}.\{3 if '(' in theirs else 2}"
            for theirs, mine in BERT_PARTS.items()
        },
    }
    network, src = ours(spec, state, names), padded_source()
    with torch.inference_mode():
        expected = reference(src, attention_mask=(src != 0).long()).last_hidden_state
        found = network.encode(src, padding_mask(src, 0))
    assert_close(found[src != 0], expected[src != 0], rtol=1e-4, atol=1e-4)
