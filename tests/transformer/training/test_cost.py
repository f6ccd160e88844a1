import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heed.models.spec.config import LanguageModelConfig, ModelConfig
from heed.transformer.language_model import LanguageModel
from heed.transformer.masks import padding_mask, text_mask
from heed.transformer.model import Transformer
from heed.transformer.training.cost import activation_bytes, peak_flops, text_flops, training_bytes, translation_flops


def counted(network: torch.nn.Module, *inputs: torch.Tensor) -> float:
    """What PyTorch counts in a pass forwards and one backwards; in float64, whose products all are its own."""
    with FlopCounterMode(display=False) as counter:
        network.double()(*inputs).sum().backward()
    return counter.get_total_flops()


def test_operations_of_translating_are_those_that_pytorch_counts() -> None:
    B, S, T = 3, 11, 7
    config = ModelConfig(n_layers=2, d_model=32, d_ff=48, n_heads=4, src_vocab_size=50, tgt_vocab_size=50)
    src, tgt = torch.randint(1, 50, (B, S)), torch.randint(1, 50, (B, T))
    found = translation_flops(config, B * S, B * T, B)
    # The first layer's inputs need no gradient where PyTorch does without one, and attention may compute scores again.
    assert found == pytest.approx(counted(Transformer(config), src, padding_mask(src, 0), tgt), rel=0.1)


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_operations_of_a_language_model_are_those_that_pytorch_counts(activation: str) -> None:
    B, T = 3, 24
    config = LanguageModelConfig(
        n_layers=2, d_model=32, d_ff=48, n_heads=4, n_kv_heads=2, vocab_size=50, context=T, activation=activation
    )
    ids = torch.randint(1, 50, (B, T))
    positions = torch.arange(T).expand(B, T)
    found = text_flops(config, B * T, B)
    assert found == pytest.approx(counted(LanguageModel(config), ids, positions, text_mask(positions)), rel=0.1)


def test_a_device_does_something_in_a_second() -> None:
    assert 1e8 < peak_flops(torch.device("cpu"), torch.float32) < 1e16


def test_memory_grows_with_what_is_computed_at_a_time() -> None:
    config = ModelConfig()
    whole = activation_bytes(config, 1000, torch.float32)
    assert activation_bytes(config, 500, torch.float32) * 2 == whole
    assert activation_bytes(config, 1000, torch.bfloat16) < whole
    assert training_bytes(10) == 160  # weights, gradients and two moments of four bytes
