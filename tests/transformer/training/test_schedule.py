import pytest

from heed.transformer.training.schedule import learning_rate


def rate(step: int, warmup: int = 400) -> float:
    return learning_rate(step, d_model=64, warmup=warmup)


def test_the_rise_is_linear() -> None:
    assert rate(1) > 0
    for step in range(1, 401):
        assert rate(step) == pytest.approx(step * rate(1))


def test_the_peak_is_at_the_end_of_the_warmup() -> None:
    assert max(range(1, 2000), key=rate) == 400


def test_the_decay_is_by_the_root_of_the_step() -> None:
    for step in (400, 500, 3000):
        assert rate(4 * step) == pytest.approx(rate(step) / 2)


def test_a_wider_network_has_a_lower_rate_by_the_root_of_the_width() -> None:
    narrow, wide = (learning_rate(70, d_model=d_model, warmup=400) for d_model in (64, 256))
    assert narrow == pytest.approx(2 * wide)


def test_the_peak_of_the_base_model() -> None:
    # 1 / √(512 · 4000) = 1 / √2,048,000 = 1 / 1431.08
    assert learning_rate(4000, d_model=512, warmup=4000) == pytest.approx(1 / 1431.08, rel=1e-5)


def test_without_warmup_the_first_step_is_the_peak() -> None:
    assert max(range(1, 100), key=lambda step: rate(step, warmup=1)) == 1
