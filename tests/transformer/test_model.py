import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from heed.models.spec.config import ModelConfig, from_table, preset, to_table
from heed.transformer.masks import causal_mask, padding_mask
from heed.transformer.model import Embedding, Transformer
from heed.transformer.positions import sinusoids

B, S, T, V = 3, 5, 7, 11
PAD = 0
NORMS = pytest.mark.parametrize("norm", ["post", "pre"])


def network(norm: str = "post", **changes: object) -> Transformer:
    sizes: dict[str, object] = {"n_layers": 2, "d_model": 16, "d_ff": 24, "n_heads": 2}
    vocabulary = {"src_vocab_size": V, "tgt_vocab_size": V}
    table = to_table(ModelConfig()) | sizes | vocabulary | {"norm": norm} | changes
    return Transformer(from_table(ModelConfig, table, "this test")).eval()


def tokens(*shape: int) -> Tensor:
    return torch.randint(4, V, shape)


def everything(src: Tensor) -> Tensor:
    return torch.ones(len(src), 1, 1, src.shape[1], dtype=torch.bool)


def n_parameters(config: ModelConfig) -> int:
    with torch.device("meta"):  # shapes alone: the big model takes no memory
        return sum(parameter.numel() for parameter in Transformer(config).parameters())


@pytest.mark.parametrize(("name", "millions"), [("base", 65), ("big", 213)])
def test_the_presets_have_the_parameters_of_table_3(name: str, millions: int) -> None:
    """The paper does not say what its count holds; within 4 % of it no whole matrix can be missing."""
    config = from_table(ModelConfig, to_table(ModelConfig()) | preset(name)["model"], name)
    assert config.src_vocab_size == 37000
    assert n_parameters(config) == pytest.approx(millions * 1e6, rel=0.04)


@pytest.mark.parametrize("tied", [True, False])
@NORMS
def test_the_number_of_parameters_is_that_of_the_paper_s_matrices(norm: str, tied: bool) -> None:
    N, D, F, src, tgt = 3, 16, 40, 50, 50 if tied else 70
    config = ModelConfig(
        n_layers=N, d_model=D, d_ff=F, n_heads=4, norm=norm,
        tied_embeddings=tied, src_vocab_size=src, tgt_vocab_size=tgt,
    )  # fmt: skip
    embeddings = src * D if tied else (src + 2 * tgt) * D  # source, target and output
    attention = 4 * D * D  # queries, keys, values, output; no biases
    feed_forward = D * F + F + F * D + D
    layer_norm = 2 * D
    encoder = N * (attention + feed_forward + 2 * layer_norm)
    decoder = N * (2 * attention + feed_forward + 3 * layer_norm)
    last_norms = 2 * layer_norm if norm == "pre" else 0  # what a pre-norm stack puts out is not normal
    assert n_parameters(config) == embeddings + encoder + decoder + last_norms


def test_tied_embeddings_are_one_matrix() -> None:
    tied = network()
    assert tied.src_embedding.weight is tied.tgt_embedding.weight is tied.projection.weight
    apart = network(tied_embeddings=False)
    weights = {id(x) for x in (apart.src_embedding.weight, apart.tgt_embedding.weight)}
    assert len(weights | {id(apart.projection.weight)}) == 3


def test_an_embedding_is_scaled_and_has_its_position_added() -> None:
    embedding = Embedding(ModelConfig(d_model=16), V).eval()
    with torch.no_grad():
        embedding.weight.normal_()
    ids, positions = tokens(B, T), torch.arange(T) + 3
    expected = embedding.weight[ids] * 4 + sinusoids(positions, 16)  # √16
    assert_close(embedding(ids, positions), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_scaled_embeddings_begin_with_variance_1(tied: bool) -> None:
    """The variance of N normal numbers is itself 1 ± √(2/N); 6 of that are once in 10^9 seeds."""
    model = network(tied_embeddings=tied, src_vocab_size=1000, tgt_vocab_size=1000)
    for embedding in (model.src_embedding, model.tgt_embedding):
        variance = (embedding.weight * math.sqrt(16)).var().item()
        assert variance == pytest.approx(1, abs=6 * math.sqrt(2 / 16000))


@NORMS
def test_a_later_token_never_changes_earlier_logits(norm: str) -> None:
    model, src, tgt = network(norm), tokens(B, S), tokens(B, T)
    before = model(src, everything(src), tgt)
    for position in range(1, T):
        changed = tgt.clone()
        changed[:, position] = 4 + (tgt[:, position] - 3) % (V - 4)
        after = model(src, everything(src), changed)
        assert_close(after[:, :position], before[:, :position])
        assert (after[:, position] - before[:, position]).abs().amax() > 1e-3


@NORMS
def test_every_source_token_and_its_place_count(norm: str) -> None:
    model, src, tgt = network(norm), torch.tensor([[4, 5, 6, 7, 8]]), tokens(1, T)
    before = model(src, everything(src), tgt)
    others = [src.index_fill(1, torch.tensor([place]), 9) for place in range(S)]
    for other in [*others, src.flip(1)]:
        assert (model(other, everything(src), tgt) - before).abs().amax() > 1e-3


@NORMS
def test_padding_a_source_changes_nothing(norm: str) -> None:
    model, src, tgt = network(norm), tokens(B, S), tokens(B, T)
    padded = torch.cat([src, torch.full((B, 4), PAD)], dim=1)
    found = model(padded, padding_mask(padded, PAD), tgt)
    assert_close(found, model(src, padding_mask(src, PAD), tgt))


@NORMS
def test_neighbours_in_a_batch_change_nothing(norm: str) -> None:
    model, tgt = network(norm), tokens(B, T)
    lengths = [2, S, 3]
    sources = [tokens(1, length) for length in lengths]
    batch = torch.full((B, S), PAD)
    for row, source in zip(batch, sources, strict=True):
        row[: source.shape[1]] = source[0]
    together = model(batch, padding_mask(batch, PAD), tgt)
    for i, source in enumerate(sources):
        alone = model(source, everything(source), tgt[i : i + 1])
        assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("parts", [[1] * T, [3, 1, 3]], ids=["one by one", "in parts"])
@NORMS
def test_decoding_with_a_cache_is_the_full_forward_pass(norm: str, parts: list[int]) -> None:
    model, src, tgt = network(norm), tokens(B, S), tokens(B, T)
    src[0, 3:] = PAD
    mask = padding_mask(src, PAD)
    state, logits, done = model.start(src, mask), [], 0
    causal = causal_mask(T, src.device)
    slots = torch.stack([torch.randperm(T) for _ in range(B)])  # keys and values may stand in any order
    for size in parts:
        step = slice(done, done + size)
        seen = torch.zeros(B, size, T, dtype=torch.bool)
        seen.scatter_(2, slots[:, None, :].expand(B, size, T), causal[step].expand(B, size, T))
        logits.append(model.decode(tgt[:, step], torch.arange(T)[step], seen[:, None], state, slots[:, step]))
        done += size
    assert_close(torch.cat(logits, dim=1), model(src, mask, tgt))


@NORMS
def test_hypotheses_that_share_a_position_do_not_see_each_other(norm: str) -> None:
    """The beam search gives all hypotheses of a sentence as queries of one step."""
    model, src, W = network(norm), tokens(1, S), 3
    hypotheses = tokens(W, 4)
    state, mask = model.start(src, everything(src)), torch.zeros(W, 0, dtype=torch.bool)
    logits = torch.empty(0)
    for position in range(4):
        mask = torch.cat([mask, torch.eye(W, dtype=torch.bool)], dim=1)
        ids, slots = hypotheses[None, :, position], torch.arange(W)[None] + W * position
        logits = model.decode(ids, torch.tensor([position]), mask[None, None], state, slots)
    expected = model(src.expand(W, S), everything(src).expand(W, 1, 1, S), hypotheses)
    assert_close(logits[0], expected[:, -1])


@NORMS
def test_dropout_acts_in_training_alone(norm: str) -> None:
    model, src, tgt = network(norm, dropout=0.5), tokens(B, S), tokens(B, T)
    once, again = (model(src, everything(src), tgt) for _ in range(2))
    assert torch.equal(once, again)
    model.train()
    once, again = (model(src, everything(src), tgt) for _ in range(2))
    assert not torch.equal(once, again)


def test_every_parameter_has_a_gradient() -> None:
    model = network("pre", tied_embeddings=False)
    src, tgt = tokens(B, S), tokens(B, T)
    loss = model(src, everything(src), tgt).log_softmax(-1)[..., 4].sum()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    assert [name for name, slope in zip(names, gradients, strict=True) if not slope.any()] == []


def test_the_defaults_are_the_base_model() -> None:
    base = dataclasses.replace(ModelConfig(), **preset("base")["model"])  # type: ignore[arg-type]
    assert base == ModelConfig()
