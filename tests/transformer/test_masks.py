import torch

from heed.transformer.masks import causal_mask, padding_mask


def test_a_position_sees_itself_and_what_came_before() -> None:
    expected = [[column <= row for column in range(4)] for row in range(4)]
    assert causal_mask(4, torch.device("cpu")).tolist() == expected


def test_padding_is_hidden_from_every_head_and_query() -> None:
    mask = padding_mask(torch.tensor([[5, 0, 7], [9, 9, 3]]), pad_id=0)
    assert mask.shape == (2, 1, 1, 3)
    assert mask.flatten(1).tolist() == [[True, False, True], [True, True, True]]
    other = padding_mask(torch.tensor([[5, 0, 7]]), pad_id=7)
    assert other.flatten().tolist() == [True, True, False]
