import math

import pytest
import torch
from torch.testing import assert_close

from heed.models.spec.positions import RelativeBuckets, Rotary, Sinusoidal
from heed.transformer.positions import buckets, rotate, rotation, sinusoids

ROTARY = Rotary()


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


def test_layout_spacing_and_offset() -> None:
    """Those of M2M100: sines, then cosines, rates down to 1/10000 itself, positions from the offset on."""
    d_model, positions = 12, torch.tensor([0, 3, 40])
    found = sinusoids(positions, d_model, Sinusoidal(layout="halves", spacing="tensor2tensor", offset=2))
    for place, row in zip((2, 5, 42), found, strict=True):
        angles = [place * 10000 ** (-i / (d_model / 2 - 1)) for i in range(d_model // 2)]
        assert_close(row, torch.tensor([*map(math.sin, angles), *map(math.cos, angles)]), rtol=1e-4, atol=1e-5)


# Rotation


def test_a_pair_is_turned_by_the_angle_of_its_position() -> None:
    """As complex numbers, number i and number i + K/2 times e^(i p θ), where θ = 10000^(-2i/K)."""
    d_head, positions = 8, torch.tensor([[0, 1, 5, 300]])
    x = torch.randn(1, 2, 4, d_head)
    angles = positions[..., None].double() * 10000 ** (-torch.arange(0, d_head, 2).double() / d_head)
    turned = torch.complex(*x.double().chunk(2, dim=-1)) * torch.exp(1j * angles)[:, None]
    expected = torch.cat([turned.real, turned.imag], dim=-1).float()
    assert_close(rotate(x, rotation(positions, d_head, ROTARY)), expected, rtol=1e-4, atol=1e-4)


def test_a_score_depends_on_the_distance_alone() -> None:
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(query: int, key: int) -> float:
        turned = [rotate(x, rotation(torch.tensor([[at]]), 16, ROTARY)) for x, at in ((q, query), (k, key))]
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
    wide = rotate(x.float(), rotation(positions, 16, ROTARY))
    with torch.autocast("cpu", torch.bfloat16):
        turn = rotation(positions, 16, ROTARY)
        narrow = rotate(x, turn)
    assert [turn.cos.dtype, turn.sin.dtype] == [torch.float32] * 2
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow, wide.bfloat16())


def test_a_part_of_a_head_may_turn_and_neighbours_be_pairs() -> None:
    """Interleaved is the same rotation of numbers in another order; what is beyond the part stays."""
    positions, x = torch.arange(5), torch.randn(2, 3, 5, 10)
    apart = rotate(x, rotation(positions, 10, Rotary(d_rotary=6, base=50.0)))
    assert torch.equal(apart[..., 6:], x[..., 6:])
    assert_close(apart[..., :6], rotate(x[..., :6], rotation(positions, 6, Rotary(base=50.0))))
    order = torch.tensor([0, 3, 1, 4, 2, 5])  # of halves, as neighbours
    neighbours = rotate(x[..., order], rotation(positions, 6, Rotary(base=50.0, interleaved=True)))
    assert_close(neighbours, apart[..., order])


# Buckets


def test_buckets_are_exact_then_logarithmic() -> None:
    """Of 8 for the past: distances 0 to 3, then those up to 20 by their logarithm, and all beyond."""
    spec = RelativeBuckets(n_buckets=8, max_distance=20)
    found = buckets(-torch.arange(40), spec, two_sided=False).tolist()
    beyond = [min(7, 4 + int(math.log(n / 4) / math.log(20 / 4) * 4)) for n in range(4, 40)]
    assert found == [0, 1, 2, 3, *beyond]
    assert not buckets(torch.arange(1, 40), spec, two_sided=False).any()  # what is behind is hidden anyway


def test_an_encoder_has_buckets_for_both_sides() -> None:
    spec, distances = RelativeBuckets(n_buckets=8, max_distance=20), torch.arange(1, 40)
    before, behind = (buckets(sign * distances, spec, two_sided=True) for sign in (-1, 1))
    assert torch.equal(behind, before + 4)
    assert before[0] == 1
    assert before.max() == 3


@pytest.mark.parametrize("kind", [Sinusoidal(), Sinusoidal(spacing="tensor2tensor")])
def test_sinusoids_of_rows_are_those_of_each(kind: Sinusoidal) -> None:
    positions = torch.tensor([[0, 1, 2], [5, 0, 9]])
    found = sinusoids(positions, 8, kind)
    for row, of in zip(found, positions, strict=True):
        assert torch.equal(row, sinusoids(of, 8, kind))
