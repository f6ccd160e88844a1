import math

import torch
from torch.testing import assert_close

from heed.transformer.positions import sinusoids


def test_sines_and_cosines_alternate_with_the_frequencies_of_the_paper() -> None:
    positions, d_model = [0, 1, 2, 6, 49], 12
    expected = [
        [wave(position / 10000 ** (2 * i / d_model)) for i in range(d_model // 2) for wave in (math.sin, math.cos)]
        for position in positions
    ]
    assert_close(sinusoids(torch.tensor(positions), d_model), torch.tensor(expected))


def test_a_far_position_is_as_exact_as_its_angle_in_float32() -> None:
    position, d_model = 5000, 8
    angles = [position / 10000 ** (2 * i / d_model) for i in range(d_model // 2)]
    expected = torch.tensor([wave(angle) for angle in angles for wave in (math.sin, math.cos)])
    found = sinusoids(torch.tensor([position]), d_model)[0]
    # The angle is a product of two rounded numbers: a few units of its 24th bit, here 5000 · 2^-22.
    assert_close(found, expected, rtol=0, atol=position * 2**-22)


def test_positions_may_repeat() -> None:
    found = sinusoids(torch.tensor([3, 3, 0]), 6)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
