"""Guided alignment: where targets copy, and that one head learns to look there."""

from collections.abc import Callable

import torch
from torch.testing import assert_close

from heed.models.spec.network import NetworkSpec
from heed.transformer.attention import AttentionInputs, attention
from heed.transformer.block import Block
from heed.transformer.masks import as_numbers, padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.objectives.guided_alignment import GuidedHead, copies, head_log_weights

PAD, EOS = 0, 2
Describe = Callable[..., NetworkSpec]
Draw = Callable[[NetworkSpec], Transformer]


def where(src: list[int], tgt: list[int]) -> set[tuple[int, int]]:
    """The pairs of a target token and the source token that it copies."""
    found = copies(torch.tensor([src]), torch.tensor([tgt]), (PAD, EOS))
    return {(t, s) for _, t, s in found.nonzero().tolist()}


def test_tokens_that_follow_one_another_on_both_sides_are_a_copy() -> None:
    assert where([5, 6, 7, 8, EOS], [9, 6, 7, EOS, PAD]) == {(1, 1), (2, 2)}


def test_a_single_equal_token_is_no_copy() -> None:
    assert where([5, 6, 7, EOS], [9, 6, 8, EOS]) == set()


def test_ends_and_padding_are_no_part_of_a_copy() -> None:
    assert where([5, 6, EOS, PAD, PAD], [9, 6, EOS, PAD, PAD]) == set()


def test_the_longest_copy_counts() -> None:
    # 1 2 stands at two places of the source; only at the second does 3 follow, as in the target.
    assert where([11, 12, 4, 11, 12, 13], [11, 12, 13]) == {(0, 3), (1, 4), (2, 5)}


def test_equally_long_copies_all_count() -> None:
    assert where([11, 12, 4, 11, 12], [11, 12]) == {(0, 0), (1, 1), (0, 3), (1, 4)}


def test_what_the_head_attends_to_is_what_the_network_computes(describe: Describe, draw: Draw) -> None:
    """With one head, and values that tell the positions apart, attention itself shows its weights."""
    network = draw(describe("translate", n_heads=1)).eval()
    assert network.decoder is not None
    (block, *_) = network.decoder.layers
    assert isinstance(block, Block)
    module = block.cross_attention
    x, memory = torch.randn(2, 3, network.spec.d_model), torch.randn(2, 5, network.spec.d_model)
    mask = as_numbers(padding_mask(torch.tensor([[5, 6, 7, 8, 9], [5, 6, PAD, PAD, PAD]]), PAD))
    keys, _ = module.project(memory)
    queries = module.query(x)[:, None]
    weights = attention(queries, keys, torch.eye(5).expand(2, 1, 5, 5), mask, scale=module.spec.score_scale)
    assert_close(head_log_weights(module, x, AttentionInputs(mask, memory=memory)).exp(), weights[:, 0])


def test_the_guided_head_learns_to_attend_to_copies(describe: Describe, draw: Draw) -> None:
    network = draw(describe("translate")).train()
    guided = GuidedHead(network.spec)
    src = torch.tensor([[5, 6, 7, 8, 4, EOS], [8, 7, 4, 5, 6, EOS]])
    tgt = torch.tensor([[1, 9, 6, 7, 8], [1, 3, 8, 7, 4]])
    copied = copies(src, tgt[:, 1:].contiguous(), (PAD, EOS))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        with guided.watched(network):
            network.states(src, padding_mask(src, PAD), tgt[:, :-1].contiguous())
        loss = guided.loss(copied) / copied.any(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
