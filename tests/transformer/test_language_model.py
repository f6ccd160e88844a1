import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from heed.models.spec.config import LanguageModelConfig, defaults, from_table, preset
from heed.transformer.attention import KeyValueCache
from heed.transformer.language_model import INITIAL_STD, LanguageModel
from heed.transformer.masks import causal_mask, text_mask
from heed.transformer.positions import rotate, rotation

V, C = 53, 24
SMALL = {"n_layers": 2, "d_model": 32, "d_ff": 56, "n_heads": 4, "dropout": 0.0, "context": C, "vocab_size": V}
GPT = LanguageModelConfig(**SMALL, n_kv_heads=4)  # type: ignore[arg-type]
MODERN = LanguageModelConfig(
    **SMALL, n_kv_heads=2, positions="rotary", norm="rms", activation="swiglu", biases=False  # type: ignore[arg-type]
)  # fmt: skip
MIXED = dataclasses.replace(GPT, positions="rotary", n_kv_heads=1)  # parts of both
FORMS = pytest.mark.parametrize("config", [GPT, MODERN, MIXED], ids=["gpt", "modern", "mixed"])


def drawn(config: LanguageModelConfig) -> LanguageModel:
    """A network in which every parameter counts: none is 0 or 1, and attention is far from even."""
    network = LanguageModel(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.dim() == 1))
    return network


def whole(network: LanguageModel, ids: Tensor) -> Tensor:
    """The logits of rows that are a text each."""
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    return network(ids, positions, causal_mask(ids.shape[1], ids.device))


# References


def of_preset(name: str, **changes: object) -> LanguageModelConfig:
    return from_table(LanguageModelConfig, defaults(LanguageModelConfig) | preset(name)["model"] | changes, name)


def gpt2(config: LanguageModelConfig) -> GPT2LMHeadModel:
    assert (config.norm, config.activation, config.positions, config.biases) == ("layer", "gelu", "learned", True)
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=config.n_layers,
            n_embd=config.d_model,
            n_inner=config.d_ff,
            n_head=config.n_heads,
            n_positions=config.context,
            vocab_size=config.vocab_size,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def gpt2_weights(network: LanguageModel) -> dict[str, Tensor]:
    """By GPT-2's names: matrices stand transposed, and those of queries, keys and values side by side."""
    parts = {
        "self_residual.norm": "ln_1",
        "feed_residual.norm": "ln_2",
        "self_attention.output": "attn.c_proj",
        "feed_forward.inner": "mlp.c_fc",
        "feed_forward.outer": "mlp.c_proj",
    }
    weights: dict[str, Tensor] = {
        "transformer.wte.weight": network.embedding.weight,
        "transformer.wpe.weight": network.get_parameter("position_embedding.weight"),
        "transformer.ln_f.weight": network.get_parameter("norm.weight"),
        "transformer.ln_f.bias": network.get_parameter("norm.bias"),
        "lm_head.weight": network.embedding.weight,
    }
    for number, layer in enumerate(network.layers):
        for kind in ("weight", "bias"):
            query, key, value = (
                layer.get_parameter(f"self_attention.{part}.{kind}") for part in ("query", "key", "value")
            )
            weights[f"transformer.h.{number}.attn.c_attn.{kind}"] = torch.cat((query, key, value)).t()
            for ours, theirs in parts.items():
                weights[f"transformer.h.{number}.{theirs}.{kind}"] = layer.get_parameter(f"{ours}.{kind}").t()
    return weights


def llama(config: LanguageModelConfig) -> LlamaForCausalLM:
    assert (config.norm, config.activation, config.positions, config.biases) == ("rms", "swiglu", "rotary", False)
    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=config.n_layers,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=config.context,
            vocab_size=config.vocab_size,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
        )
    )


def llama_weights(network: LanguageModel) -> dict[str, Tensor]:
    parts = {
        "self_residual.norm": "input_layernorm",
        "feed_residual.norm": "post_attention_layernorm",
        "self_attention.query": "self_attn.q_proj",
        "self_attention.key": "self_attn.k_proj",
        "self_attention.value": "self_attn.v_proj",
        "self_attention.output": "self_attn.o_proj",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.inner": "mlp.up_proj",
        "feed_forward.outer": "mlp.down_proj",
    }
    weights: dict[str, Tensor] = {
        "model.embed_tokens.weight": network.embedding.weight,
        "model.norm.weight": network.get_parameter("norm.weight"),
        "lm_head.weight": network.embedding.weight,
    }
    for number, layer in enumerate(network.layers):
        for ours, theirs in parts.items():
            weights[f"model.layers.{number}.{theirs}.weight"] = layer.get_parameter(f"{ours}.weight")
    return weights


# The presets' forms at a size that computes at once.
SIZES = {"n_layers": 3, "d_model": 48, "d_ff": 80, "n_heads": 6, "context": C, "vocab_size": V}
GPT2_SIZES = SIZES | {"n_kv_heads": 6}
MODERN_SIZES = SIZES | {"n_kv_heads": 2}


@pytest.mark.parametrize(
    ("config", "reference", "weights"),
    [
        (of_preset("gpt2", **GPT2_SIZES), gpt2, gpt2_weights),
        (of_preset("gpt-tiny", **GPT2_SIZES), llama, llama_weights),
        (of_preset("modern-small", **MODERN_SIZES), llama, llama_weights),
    ],
    ids=["gpt2", "gpt-tiny", "modern-small"],
)
def test_logits_are_those_of_transformers(
    config: LanguageModelConfig,
    reference: Callable[[LanguageModelConfig], nn.Module],
    weights: Callable[[LanguageModel], dict[str, Tensor]],
) -> None:
    """Hugging Face's own code for the same form, with the same weights, all along the context."""
    network, other = drawn(config), reference(config)
    other.train(False)
    with torch.no_grad():
        network.embedding.weight[: V // 2] *= 0.003  # so small that what a norm adds to the variance counts
    other.load_state_dict(weights(network))
    ids = torch.randint(V, (3, C))
    with torch.inference_mode():
        expected = other(ids).logits
        found = whole(network, ids)
    assert expected.std() > 1
    assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_gpt2_has_the_parameters_of_gpt2() -> None:
    """124,439,808 by Hugging Face's count for `gpt2`; the paper's "117M" was a mistake, as its authors say."""
    with torch.device("meta"):
        network = LanguageModel(of_preset("gpt2"))
    assert sum(parameter.numel() for parameter in network.parameters()) == 124_439_808


def test_fresh_weights_are_drawn_as_gpt2_s() -> None:
    """Normal with deviation 0.02, and what writes into the residual path less, by the root of its 2 N writers."""
    config = LanguageModelConfig(n_layers=8, d_model=64, d_ff=256, n_heads=4, n_kv_heads=4, context=64, vocab_size=512)
    for name, parameter in LanguageModel(config).named_parameters():
        if parameter.dim() == 2:
            writes = name.endswith(("self_attention.output.weight", "feed_forward.outer.weight"))
            assert parameter.std().item() == pytest.approx(INITIAL_STD / 4 if writes else INITIAL_STD, rel=0.05), name
            assert abs(parameter.mean().item()) < 0.001, name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, name.endswith("norm.weight"))), name


# Laws


@FORMS
def test_what_follows_changes_nothing(config: LanguageModelConfig) -> None:
    network, ids = drawn(config), torch.randint(V, (2, C))
    expected = whole(network, ids)
    ids[:, 10:] = torch.randint(V, (2, C - 10))
    assert_close(whole(network, ids)[:, :10], expected[:, :10])


@FORMS
@pytest.mark.parametrize("parts", [(C,), (1,) * C, (7, 1, 1, 9, 6)], ids=["at once", "token by token", "in parts"])
def test_cached_is_uncached(config: LanguageModelConfig, parts: tuple[int, ...]) -> None:
    """Whichever slots keys and values are put in."""
    network, ids = drawn(config), torch.randint(V, (3, C))
    slots = torch.stack([torch.randperm(C + 2)[:C] for _ in ids])
    caches, found = [KeyValueCache() for _ in network.layers], []
    visible = torch.zeros(3, C + 2, dtype=torch.bool)
    rows = torch.arange(3)[:, None]
    for positions in torch.arange(C).split(list(parts)):
        mask = visible[:, None].repeat(1, len(positions), 1)  # (B, T, C + 2)
        for number, position in enumerate(positions):
            mask[rows, number:, slots[:, position, None]] = True
        visible[rows, slots[:, positions]] = True
        part = ids[:, positions]
        found.append(network(part, positions.expand_as(part), mask[:, None], caches, slots[:, positions]))
    assert caches[0].keys is not None
    assert caches[0].keys.shape[1] == config.n_kv_heads  # groups are not repeated in memory
    assert_close(torch.cat(found, dim=1), whole(network, ids), rtol=1e-4, atol=1e-4)


@FORMS
def test_texts_in_a_row_do_not_see_each_other(config: LanguageModelConfig) -> None:
    network, lengths = drawn(config), (9, 1, 14)
    ids = torch.randint(V, (2, C))
    positions = torch.cat([torch.arange(length) for length in lengths]).expand_as(ids)
    found = network(ids, positions, text_mask(positions)).split(lengths, dim=1)
    for part, expected in zip(found, ids.split(lengths, dim=1), strict=True):
        assert_close(part, whole(network, expected), rtol=1e-4, atol=1e-4)


def test_positions_are_told_apart() -> None:
    """Without them, a token that is the same all along gives the same logits all along."""
    for config in (GPT, MODERN):
        network = drawn(config)
        ids = torch.full((1, C), 5)
        ids[0, 0] = 7
        logits = whole(network, ids)
        assert (logits[0, 3] - logits[0, 20]).abs().max() > 1e-3


# Rotation


def test_a_pair_is_turned_by_the_angle_of_its_position() -> None:
    """As complex numbers, number i and number i + K/2 times e^(i p θ), where θ = 10000^(-2i/K)."""
    d_head, positions = 8, torch.tensor([[0, 1, 5, 300]])
    x = torch.randn(1, 2, 4, d_head)
    angles = positions[..., None].double() * 10000 ** (-torch.arange(0, d_head, 2).double() / d_head)
    turned = torch.complex(*x.double().chunk(2, dim=-1)) * torch.exp(1j * angles)[:, None]
    expected = torch.cat([turned.real, turned.imag], dim=-1).float()
    assert_close(rotate(x, rotation(positions, d_head)), expected, rtol=1e-4, atol=1e-4)


def test_a_score_depends_on_the_distance_alone() -> None:
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(query: int, key: int) -> float:
        turned = [rotate(x, rotation(torch.tensor([[at]]), 16)) for x, at in ((q, query), (k, key))]
        return float((turned[0] * turned[1]).sum())

    for distance in (0, 1, 17):
        scores = [score(key + distance, key) for key in (0, 3, 200, 1000)]
        assert scores == pytest.approx([scores[0]] * 4, abs=2e-3)
    assert score(17, 0) != pytest.approx(score(0, 0), abs=0.1)
    assert score(0, 17) != pytest.approx(score(17, 0), abs=0.1)  # before is not behind


def test_angles_stay_in_float32_though_products_do_not() -> None:
    """In bfloat16 positions above 256 would be rounded to even ones and more."""
    positions = torch.tensor([[1000, 1001, 1002, 1003]])
    x = torch.randn(1, 1, 1, 16).bfloat16().expand(1, 1, 4, 16)
    wide = rotate(x.float(), rotation(positions, 16))
    with torch.autocast("cpu", torch.bfloat16):
        turn = rotation(positions, 16)
        narrow = rotate(x, turn)
    assert [part.dtype for part in turn] == [torch.float32] * 2
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow, wide.bfloat16())


@FORMS
def test_bfloat16_is_float32_roughly(config: LanguageModelConfig) -> None:
    network, ids = LanguageModel(config).eval(), torch.randint(V, (2, C))
    expected = whole(network, ids)
    with torch.autocast("cpu", torch.bfloat16):
        found = whole(network, ids)
    assert_close(found.float(), expected, rtol=0, atol=0.05 * expected.std().item())
