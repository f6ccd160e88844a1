"""The network of any form: its parameters, and laws of what it puts out."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.models.spec.preset import complete, network_spec, preset
from heed.models.spec.stack import StackSpec
from heed.transformer.masks import padding_mask
from heed.transformer.model import INITIAL_STD, Transformer
from heed.transformer.positions import sinusoids

B, S, T, PAD = 3, 5, 7, 0
Describe = Callable[..., NetworkSpec]
Draw = Callable[[NetworkSpec], Transformer]
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "paper": ("translate", {}),
    "before": ("translate", {"norm_placement": "before"}),
    "deep and shallow": ("translate", {"encoder_layers": 3, "decoder_layers": 1, "d_head": 6, "tied": False}),
    "gpt": ("generate", {}),
    "modern": (
        "generate",
        {"positions": "rotary", "norm_kind": "rms", "activation": "silu", "gated": True, "biases": False},
    ),
    "relative": ("translate", {"positions": "relative", "norm_kind": "rms", "norm_placement": "before"}),
}


@pytest.fixture(params=FORMS)
def network(request: pytest.FixtureRequest, describe: Describe, draw: Draw) -> Transformer:
    task, options = FORMS[request.param]
    return draw(describe(task, **options))


def tokens(*shape: int) -> Tensor:
    return torch.randint(4, 11, shape)


def logits(network: Transformer, src: Tensor, tgt: Tensor) -> Tensor:
    return network(src, padding_mask(src, PAD), tgt)


def n_parameters(spec: NetworkSpec) -> int:
    return sum(map(math.prod, parameters(spec).values()))


# Parameters


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_parameters_have_the_names_and_shapes_of_the_description(
    specs: st.SearchStrategy[NetworkSpec], data: st.DataObject
) -> None:
    spec = data.draw(specs)
    with torch.device("meta"):
        network = Transformer(spec)
    assert {name: tuple(each.shape) for name, each in network.named_parameters()} == parameters(spec)
    assert network.state_dict().keys() == parameters(spec).keys()


def of_preset(name: str) -> NetworkSpec:
    return network_spec(complete(preset(name)["network"]), name)


@pytest.mark.parametrize(("name", "millions"), [("base", 65), ("big", 213)])
def test_the_presets_have_the_parameters_of_table_3(name: str, millions: int) -> None:
    """The paper does not say what its count holds; within 4 % of it no whole matrix can be missing."""
    assert n_parameters(of_preset(name)) == pytest.approx(millions * 1e6, rel=0.04)


def test_the_defaults_are_the_base_model() -> None:
    assert of_preset("base") == NetworkSpec()


def test_gpt2_has_the_parameters_of_gpt2(describe: Describe) -> None:
    """124,439,808 by Hugging Face's count for `gpt2`; the paper's "117M" was a mistake, as its authors say."""
    sizes = {"n_layers": 12, "d_model": 768, "d_ff": 3072, "n_heads": 12, "context": 1024}
    assert n_parameters(describe("generate", vocab_size=50257, **sizes)) == 124_439_808


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("placement", ["after", "before"])
def test_the_number_of_parameters_is_that_of_the_paper_s_matrices(
    describe: Describe, placement: str, tied: bool
) -> None:
    N, D, F, src, tgt = 3, 16, 40, 50, 50 if tied else 70
    spec = describe(
        vocab_size=tgt, src_vocab_size=src, n_layers=N, d_model=D, d_ff=F, n_heads=4, norm_placement=placement
    )
    embeddings = src * D if tied else (src + 2 * tgt) * D  # source, target and output
    attention = 4 * D * D  # queries, keys, values, output; no biases
    feed_forward = D * F + F + F * D + D
    layer_norm = 2 * D
    encoder = N * (attention + feed_forward + 2 * layer_norm)
    decoder = N * (2 * attention + feed_forward + 3 * layer_norm)
    last_norms = 2 * layer_norm if placement == "before" else 0  # what such a stack puts out is not normal
    assert n_parameters(spec) == embeddings + encoder + decoder + last_norms


def test_scaled_embeddings_begin_with_variance_1(describe: Describe) -> None:
    """The variance of N normal numbers is itself 1 ± √(2/N); 6 of that are once in 10^9 seeds."""
    for options in ({}, {"tied": False}):
        network = Transformer(describe(vocab_size=1000, **options))
        for name, parameter in network.named_parameters():
            if "embedding" in name:
                variance = (parameter * math.sqrt(16)).var().item()
                assert variance == pytest.approx(1, abs=6 * math.sqrt(2 / 16000))


def test_fresh_weights_are_drawn_as_gpt2_s(describe: Describe) -> None:
    """Normal with deviation 0.02, and what writes into the residual path less, by the root of its 2 N writers."""
    sizes = {"n_layers": 8, "d_model": 64, "d_ff": 256, "n_heads": 4, "context": 64}
    for name, parameter in Transformer(describe("generate", vocab_size=512, **sizes)).named_parameters():
        if parameter.dim() == 2:
            writes = name.endswith(("self_attention.output.weight", "feed_forward.outer.weight"))
            assert parameter.std().item() == pytest.approx(INITIAL_STD / 4 if writes else INITIAL_STD, rel=0.05), name
            assert abs(parameter.mean().item()) < 0.001, name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, name.endswith("norm.weight"))), name


def test_every_parameter_has_a_gradient(network: Transformer) -> None:
    loss = logits(network, tokens(B, S), tokens(B, T)).log_softmax(-1)[..., 4].sum()
    names, weights = zip(*network.named_parameters(), strict=True)
    slopes = torch.autograd.grad(loss, weights)
    assert [name for name, slope in zip(names, slopes, strict=True) if not slope.any()] == []


# Laws


def test_an_embedding_is_scaled_and_has_its_position_added(describe: Describe, draw: Draw) -> None:
    """The input of the first layer, which a hook sees."""
    network, seen = draw(describe()), list[Tensor]()
    assert network.decoder is not None
    network.decoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tgt = tokens(B, T)
    logits(network, tokens(B, S), tgt)
    embedding = network.get_parameter("src_embedding.weight")
    assert_close(seen[0], embedding[tgt] * 4 + sinusoids(torch.arange(T), 16))  # √16


def test_a_later_token_never_changes_earlier_logits(network: Transformer) -> None:
    src, tgt = tokens(B, S), tokens(B, T)
    before = logits(network, src, tgt)
    for position in range(1, T):
        changed = tgt.clone()
        changed[:, position] = 4 + (tgt[:, position] - 3) % 7
        after = logits(network, src, changed)
        assert_close(after[:, :position], before[:, :position])
        assert (after[:, position] - before[:, position]).abs().amax() > 1e-3


def test_every_token_before_and_its_place_count(network: Transformer) -> None:
    src, tgt = tokens(B, S), tokens(1, T).expand(B, T).clone()
    before = logits(network, src, tgt)[:, -1]
    for place in range(T - 1):
        changed = tgt.clone()
        changed[:, place] = 4 + (tgt[:, place] - 3) % 7
        assert (logits(network, src, changed)[:, -1] - before).abs().amax() > 1e-3
    shuffled = torch.cat([tgt[:, [1, 0]], tgt[:, 2:]], dim=1)
    assert torch.equal(shuffled, tgt) or (logits(network, src, shuffled)[:, -1] - before).abs().amax() > 1e-3


def test_every_source_token_and_its_place_count(network: Transformer) -> None:
    if network.encoder is None:
        return
    src, tgt = torch.tensor([[4, 5, 6, 7, 8]]), tokens(1, T)
    before = logits(network, src, tgt)
    others = [src.index_fill(1, torch.tensor([place]), 9) for place in range(S)]
    for other in [*others, src.flip(1)]:
        assert (logits(network, other, tgt) - before).abs().amax() > 1e-3


def test_neighbours_and_padding_change_nothing(network: Transformer) -> None:
    tgt, lengths = tokens(B, T), [2, S, 3]
    sources = [tokens(1, length) for length in lengths]
    batch = torch.full((B, S + 4), PAD)
    for row, source in zip(batch, sources, strict=True):
        row[: source.shape[1]] = source[0]
    together = logits(network, batch, tgt)
    for i, source in enumerate(sources):
        assert_close(together[i : i + 1], logits(network, source, tgt[i : i + 1]), rtol=1e-4, atol=1e-5)


def test_texts_in_a_row_do_not_see_each_other(network: Transformer) -> None:
    lengths = (9, 1, 14)
    tgt, src = tokens(2, sum(lengths)), tokens(2, S)
    positions = torch.cat([torch.arange(length) for length in lengths]).expand_as(tgt)
    found = network(src, padding_mask(src, PAD), tgt, positions).split(lengths, dim=1)
    for part, expected in zip(found, tgt.split(lengths, dim=1), strict=True):
        assert_close(part, logits(network, src, expected), rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_alone(describe: Describe) -> None:
    for task, options in FORMS.values():
        network = Transformer(describe(task, **options | {"dropout": 0.5})).eval()
        src, tgt = tokens(B, S), tokens(B, T)
        once, again = (logits(network, src, tgt) for _ in range(2))
        assert torch.equal(once, again)
        network.train()
        once, again = (logits(network, src, tgt) for _ in range(2))
        assert not torch.equal(once, again)


def test_bfloat16_is_float32_roughly(describe: Describe) -> None:
    for task, options in FORMS.values():
        network, src, tgt = Transformer(describe(task, **options)).eval(), tokens(B, S), tokens(B, T)
        expected = logits(network, src, tgt)
        with torch.autocast("cpu", torch.bfloat16):
            found = logits(network, src, tgt)
        assert_close(found.float(), expected, rtol=0, atol=0.05 * expected.std().item())


def test_an_encoder_alone_gives_logits_of_its_own_positions(draw: Draw) -> None:
    """Each of them sees all the others, in both directions."""
    small: dict[str, Any] = {"vocab_size": 11, "n_layers": 2}
    network = draw(NetworkSpec(d_model=16, encoder=StackSpec(**small), decoder=None))
    src = tokens(1, S)
    before = network(src, padding_mask(src, PAD))
    assert before.shape == (1, S, 11)
    for place in range(S):
        changed = src.index_fill(1, torch.tensor([place]), 10)
        moved = (network(changed, padding_mask(changed, PAD)) - before).abs().amax(dim=(0, 2))
        assert torch.equal(src, changed) or (moved > 1e-3).all()


def windowed(stack: StackSpec, window: int) -> StackSpec:
    return dataclasses.replace(stack, attention=dataclasses.replace(stack.attention, window=window))


def test_a_window_hides_what_is_further_away(describe: Describe, draw: Draw) -> None:
    """A layer sees three tokens of a text, two layers five."""
    spec = describe("generate")
    assert spec.decoder is not None
    network, tgt = draw(dataclasses.replace(spec, decoder=windowed(spec.decoder, 3))), tokens(1, 12)
    before = network(tgt=tgt)
    for place, counts in ((11 - 5, False), (12 - 5, True)):
        after = network(tgt=tgt.index_fill(1, torch.tensor([place]), 3))
        assert ((after - before)[:, -1].abs().amax() > 1e-4) == counts


def test_a_window_of_an_encoder_is_two_sided(describe: Describe, draw: Draw) -> None:
    spec = describe(n_layers=1)
    assert spec.encoder is not None
    alone = dataclasses.replace(spec, encoder=windowed(spec.encoder, 3), decoder=None)
    network, src = draw(alone), tokens(1, 12)
    after = network(changed := src.index_fill(1, torch.tensor([6]), 3), padding_mask(changed, PAD))
    moved = (after - network(src, padding_mask(src, PAD)))[0].abs().amax(dim=1) > 1e-4
    assert moved.nonzero().flatten().tolist() == [4, 5, 6, 7, 8]
