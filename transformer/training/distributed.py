"""Several processes that train one network: which one this is, and what they tell each other.

torchrun starts them, on one machine or on many, and tells each by the environment which one it is.
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

PATIENCE = datetime.timedelta(days=2)  # the others wait while the first reads the text or validates
POLL = 0.05  # seconds between two looks for the others
Told = TypeVar("Told")


@dataclasses.dataclass(frozen=True)
class Processes:
    """Those that train together; by default this one alone."""

    rank: int = 0  # of this one
    size: int = 1  # of all

    @property
    def is_first(self) -> bool:
        """Whether this one reads, validates, writes and speaks for all."""
        return self.rank == 0

    def told(self, value: Told) -> Told:
        """What the first one says, of any kind that can be pickled."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def most(self, figures: Sequence[float]) -> list[float]:
        """The largest of each figure among all."""
        if self.size == 1:
            return list(figures)
        tensor = torch.tensor(figures, dtype=torch.float64)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor.tolist()

    def add(self, sums: Tensor) -> Tensor:
        """The sum of a tensor over all."""
        if self.size > 1:
            distributed.all_reduce(sums)
        return sums

    def together(self, network: nn.Module, *, sharded: bool) -> nn.Module:
        """What to call in place of a network in training, so that all have the gradients of the whole batch.

        Args:
            network: Equal in all processes. Where it is sharded, it is changed itself.
            sharded: Each process keeps a part of weights, gradients and moments (FSDP), and not all of them (DDP).
        """
        if sharded:
            warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)  # of changes in place; we make none
            _shard(network)
            return network
        return DistributedDataParallel(network, gradient_as_bucket_view=True) if self.size > 1 else network


ALONE = Processes()


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Meet the other processes that torchrun has started, and part from them; without it, be alone."""
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
    """A name that only those processes know which are alive now.

    torchrun keeps its store when it starts lost processes again, and gloo would look for the new ones where the old
    ones were. So each says a word that nobody has said before, and the first one answers that word alone.

    Args:
        store: What torchrun's processes share.
        rank: Of this process.
        size: How many there are.
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
            if store.check([f"heed/word/{other}"]):  # which may be that of a process that is gone
                store.set("heed/answer/" + store.get(f"heed/word/{other}").decode(), word)
            if store.check([f"heed/met/{word}/{other}"]):
                missing.remove(other)
        time.sleep(POLL)
    return word


@contextlib.contextmanager
def lost_ones_told(processes: Processes, run: Path) -> Iterator[None]:
    """Say what to do where another process is gone, whatever this one was to do with it.

    Args:
        processes: Those that train together.
        run: What they train.

    Raises:
        HeedError: One is gone.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no kind of its own
        if processes.size == 1 or "onnection" not in str(error):
            raise
        raise HeedError(
            f"{run}: another of the processes is gone ({str(error).splitlines()[0]:.100}); "
            f"start all of them again with heed train --resume {run}"
        ) from None


def n_local() -> int:
    """How many of the processes share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if distributed.is_torchelastic_launched() else 1


def local_device(name: str) -> str:
    """The device of this process: each has a GPU of its own."""
    gpus = name in ("auto", "cuda") and torch.cuda.is_available() and distributed.is_torchelastic_launched()
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if gpus else name


@contextlib.contextmanager
def gradients_kept(network: nn.Module, when: bool) -> Iterator[None]:
    """Let gradients add up in each process, and not be exchanged yet, while more of the batch follows."""
    if isinstance(network, DistributedDataParallel) and when:
        with network.no_sync():
            yield
    elif isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(not when)
        yield
    else:
        yield


def _shard(network: nn.Module) -> None:
    """Part each layer among the processes; it is put together while it computes."""
    for module in network.modules():
        if isinstance(module, Block):
            fully_shard(module)
    fully_shard(network)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that was parted among processes, put together on the CPU; all of them must ask. Another as it is."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another one, and parted among processes as that is."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)
