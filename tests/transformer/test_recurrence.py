"""SSRUs against their formula, and steps against whole texts."""

import torch
from torch.testing import assert_close

from heed.transformer.attention import AttentionInputs
from heed.transformer.masks import as_numbers
from heed.transformer.recurrence import SSRU, StateCache, previous_slots

B, T, D = 2, 5, 6


def layer() -> SSRU:
    made = SSRU(D)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def test_is_the_formula() -> None:
    """c_t = f_t · c_(t-1) + (1 - f_t) · W x_t, and ReLU(c_t) is put out."""
    unit, x = layer(), torch.randn(B, T, D)
    mask = as_numbers(torch.ones(T, T, dtype=torch.bool))
    state, expected = torch.zeros(B, D), []
    for t in range(T):
        forget = torch.sigmoid(x[:, t] @ unit.forget.weight.T + unit.forget.bias)
        state = forget * state + (1 - forget) * (x[:, t] @ unit.candidate.weight.T)
        expected.append(state.clamp(min=0))
    assert_close(unit(x, AttentionInputs(mask)), torch.stack(expected, dim=1))


def test_a_later_token_changes_nothing_before_it() -> None:
    unit, x = layer(), torch.randn(B, T, D)
    mask = as_numbers(torch.ones(T, T, dtype=torch.bool))
    before = unit(x, AttentionInputs(mask))
    x[:, 3] += 1
    after = unit(x, AttentionInputs(mask))
    assert_close(after[:, :3], before[:, :3], rtol=0, atol=0)
    assert not torch.isclose(after[:, 3:], before[:, 3:]).all()


def test_hypotheses_continue_what_each_has_read() -> None:
    """A text, then two continuations side by side, of which a step takes the second twice; slots are in any order."""
    unit, x = layer(), torch.randn(1, T, D)
    cache, slots = StateCache(), torch.tensor([[2, 0]])
    unit(x[:, :2], AttentionInputs(torch.zeros(2, 3), slots=slots), cache)
    step = AttentionInputs(torch.zeros(2, 5), slots=torch.tensor([[4, 1]]), previous=torch.tensor([[0, 0]]))
    unit(x[:, 2:4], step, cache)
    step = AttentionInputs(torch.zeros(2, 5), slots=torch.tensor([[3, 4]]), previous=torch.tensor([[1, 1]]))
    found = unit(x[:, [4, 2]], step, cache)
    for number, path in enumerate(([0, 1, 3, 4], [0, 1, 3, 2])):
        whole = unit(x[:, path], AttentionInputs(torch.zeros(4, 4)))
        assert_close(found[:, number], whole[:, -1])


def test_previous_slots_are_those_of_the_last_token_seen_before() -> None:
    keys = torch.tensor([[1, 0, 3, 2, 3]])  # positions of the tokens in slots
    mask = torch.tensor(
        [
            [True, True, True, True, False],  # the token in slot 2 itself, behind 0, 1 and 2
            [True, True, False, False, True],  # one in slot 4 that does not see position 2
            [False, False, False, False, True],  # one that sees itself alone
        ]
    )[None, None]
    assert previous_slots(mask, torch.tensor([[3, 3, 3]]), keys).tolist() == [[3, 0, -1]]
