from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heed.models.spec.network import NetworkSpec
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.cost import activation_bytes, peak_flops, step_flops, training_bytes

FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "paper": ("translate", {}),
    "deep and shallow": ("translate", {"encoder_layers": 3, "decoder_layers": 1, "d_head": 12, "tied": False}),
    "gpt": ("generate", {"n_kv_heads": 2}),
    "modern": ("generate", {"positions": "rotary", "activation": "silu", "gated": True, "n_kv_heads": 2}),
}


def counted(network: torch.nn.Module, *inputs: torch.Tensor) -> float:
    """What PyTorch counts in a pass forwards and one backwards; in float64, whose products all are its own."""
    with FlopCounterMode(display=False) as counter:
        network.double()(*inputs).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("form", FORMS)
def test_operations_are_those_that_pytorch_counts(describe: Callable[..., NetworkSpec], form: str) -> None:
    task, options = FORMS[form]
    B, S, T = 3, 23 if task == "translate" else 1, 24
    spec = describe(task, vocab_size=50, d_model=32, d_ff=48, n_heads=4, **options)
    src, tgt = torch.randint(1, 50, (B, S)), torch.randint(1, 50, (B, T))
    found = step_flops(spec, B * S if spec.encoder else 0, B * T, B)
    # The first layer's inputs need no gradient where PyTorch does without one, and attention may compute scores again.
    assert found == pytest.approx(counted(Transformer(spec), src, padding_mask(src, 0), tgt), rel=0.1)


def test_a_device_does_something_in_a_second() -> None:
    assert 1e8 < peak_flops(torch.device("cpu"), torch.float32) < 1e16


def test_memory_grows_with_what_is_computed_at_a_time() -> None:
    spec = NetworkSpec()
    whole = activation_bytes(spec, 1000, torch.float32)
    assert activation_bytes(spec, 500, torch.float32) * 2 == whole
    assert activation_bytes(spec, 1000, torch.bfloat16) < whole
    assert training_bytes(10) == 160  # weights, gradients and two moments of four bytes
