"""The engine of a training session: device, precision, processes."""

import dataclasses

import torch

from heed.models.errors import ModelError
from heed.transformer.training.distributed import ALONE, Processes


@dataclasses.dataclass(frozen=True)
class Engine:
    """The engine of a training session; it affects the result only through the rounding of sums."""

    device: torch.device
    processes: Processes = ALONE
    sharded: bool = False  # each process keeps a part of weights, gradients and moments
    accumulate: int = 1  # parts of a batch that each process computes one after another


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU if there is one.

    Raises:
        ModelError: The device does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ModelError(f"device {name!r} is neither cpu nor cuda; give --device cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {name!r} cannot be used: {reason}; give --device cpu") from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of matrix products; weights, sums and the loss stay in float32.

    "auto" is bfloat16 if the device supports it and float32 otherwise. Measured on two cores, bfloat16 trains 2 to 4
    times as fast with AVX512-BF16 or AMX; emulated, it is slower than float32.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities()
        native = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last on ARM
    return torch.bfloat16 if native else torch.float32
