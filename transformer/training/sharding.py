"""A network whose layers are parted among processes (FSDP), and its weights as a whole.

PyTorch's own modules for it take two seconds to import, so only a network that is sharded imports them.
"""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from heed.transformer.block import Block
from heed.transformer.model import Transformer

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def is_sharded(module: nn.Module) -> "TypeGuard[FSDPModule]":
    """Whether a network is parted among processes; then its module of PyTorch's is imported."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)


def is_part(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether a tensor is this process's part of a larger one."""
    parts = sys.modules.get("torch.distributed.tensor")
    return parts is not None and isinstance(tensor, parts.DTensor)


def shard(network: nn.Module, *calls: str) -> None:
    """Part each layer of a network among the processes (FSDP); it is put together while it computes.

    Args:
        network: Best one on the device "meta": then no process ever holds all of its weights.
        calls: Names of methods that compute, beside `forward`.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)  # of changes in place; we make none
    for module in network.modules():
        if isinstance(module, Block):
            fully_shard(module)
    fully_shard(network)
    for name in calls:
        register_fsdp_forward_method(network, name)


@torch.no_grad()
def materialize(network: Transformer, device: torch.device) -> None:
    """Give fresh weights to a network that has shapes alone, or to this process its part of them."""
    network.to_empty(device=device)
    for name, parameter in network.named_parameters():
        parameter.copy_(spread(network.fresh(name, parameter.shape), parameter))


@contextlib.contextmanager
def lent(network: Transformer, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Let a network have other weights for a while; None: its own."""
    own = {name: parameter.detach().clone() for name, parameter in network.named_parameters()} if weights else {}
    _put(network, weights or {})
    try:
        yield
    finally:
        _put(network, own)


@torch.no_grad()
def _put(network: Transformer, weights: Mapping[str, Tensor]) -> None:
    for name, parameter in network.named_parameters():
        if name in weights:
            parameter.copy_(spread(weights[name], parameter))


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor on the CPU; all processes must call this. Other tensors are returned unchanged."""
    return tensor.full_tensor().cpu() if is_part(tensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another one, and parted among processes as that is, unless it is already."""
    if is_part(like) and not is_part(tensor):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)
