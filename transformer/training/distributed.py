"""Distributed training: the processes that train one network, and their communication.

torchrun starts the processes on one machine or many and tells each its rank by environment variables.
"""

import contextlib
import dataclasses
import datetime
import os
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from heed.models.errors import HeedError
from heed.transformer.block import Block

PATIENCE = datetime.timedelta(days=2)  # the other processes wait while the first one reads text or validates
POLL = 0.05  # seconds between two checks for the other processes
Told = TypeVar("Told")


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes that train together; by default only this one."""

    rank: int = 0  # rank of this process
    size: int = 1  # number of processes

    @property
    def is_first(self) -> bool:
        """Whether this process reads, validates, writes and reports for all."""
        return self.rank == 0

    def told(self, value: Told) -> Told:
        """Broadcast a picklable value of the first process."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def most(self, figures: Sequence[float]) -> list[float]:
        """The maximum of each figure over all processes."""
        if self.size == 1:
            return list(figures)
        tensor = torch.tensor(figures, dtype=torch.float64)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor.tolist()

    def add(self, sums: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            distributed.all_reduce(sums)
        return sums

    def together(self, network: nn.Module, *, sharded: bool) -> nn.Module:
        """Wrap a network for training, so that all processes get the gradients of the whole batch.

        Args:
            network: Equal in all processes; sharding changes it in place.
            sharded: Each process keeps a shard of weights, gradients and moments (FSDP) instead of all of them (DDP).
        """
        if sharded:
            warnings.filterwarnings(
                "ignore", "FSDP2-wrapped module", UserWarning
            )  # about in-place changes, which do not occur here
            _shard(network)
            return network
        return DistributedDataParallel(network, gradient_as_bucket_view=True) if self.size > 1 else network


ALONE = Processes()


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Join the process group of torchrun for the block; without torchrun, this process is alone."""
    if "RANK" not in os.environ or not distributed.is_torchelastic_launched():
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    store = PrefixStore(meeting(store, rank, size), store)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Processes(rank, size)
    finally:
        distributed.destroy_process_group()


def meeting(store: Store, rank: int, size: int) -> str:
    """A name that only the living processes know.

    torchrun keeps its store when it restarts processes, so gloo would look for new processes at the old addresses. So
    each process publishes a new random word, and the first one answers only that word.

    Args:
        store: The key-value store of torchrun's processes.
        rank: Rank of this process.
        size: Number of processes.
    """
    word = uuid.uuid4().hex
    if rank > 0:
        store.set(f"heed/word/{rank}", word)
        name = store.get(f"heed/answer/{word}").decode()
        store.set(f"heed/met/{name}/{rank}", "")
        return name
    missing = set(range(1, size))
    while missing:
        for other in sorted(missing):
            if store.check([f"heed/word/{other}"]):  # the word may be that of a lost process
                store.set("heed/answer/" + store.get(f"heed/word/{other}").decode(), word)
            if store.check([f"heed/met/{word}/{other}"]):
                missing.remove(other)
        time.sleep(POLL)
    return word


@contextlib.contextmanager
def lost_ones_told(processes: Processes, run: Path) -> Iterator[None]:
    """Turn any failure of communication with a lost process into an error that says what to do.

    Args:
        processes: The processes that train together.
        run: The run.

    Raises:
        HeedError: A process is lost.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no error type of its own
        if processes.size == 1 or "onnection" not in str(error):
            raise
        raise HeedError(
            f"{run}: lost another process ({str(error).splitlines()[0]:.100}); "
            f"restart all processes with heed train --resume {run}"
        ) from None


def n_local() -> int:
    """The number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if distributed.is_torchelastic_launched() else 1


def local_device(name: str) -> str:
    """The device of this process; each has its own GPU."""
    gpus = name in ("auto", "cuda") and torch.cuda.is_available() and distributed.is_torchelastic_launched()
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if gpus else name


@contextlib.contextmanager
def gradients_kept(network: nn.Module, when: bool) -> Iterator[None]:
    """Accumulate gradients locally, without synchronization, while more of the batch follows."""
    if isinstance(network, DistributedDataParallel) and when:
        with network.no_sync():
            yield
    elif isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(not when)
        yield
    else:
        yield


def _shard(network: nn.Module) -> None:
    """Shard each layer among the processes; a layer is gathered while it computes."""
    for module in network.modules():
        if isinstance(module, Block):
            fully_shard(module)
    fully_shard(network)


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor on the CPU; all processes must call this. Other tensors are returned unchanged."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """Move a whole tensor to the device of another one, and shard it like that one."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)
