"""Distributed training: the processes that train one network, and their communication.

torchrun starts the processes on one machine or many and tells each its rank by environment variables.
"""

import contextlib
import dataclasses
import datetime
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from heed.models.errors import HeedError
from heed.transformer.training.sharding import is_sharded, whole

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

    def together(self, network: nn.Module) -> nn.Module:
        """What to call in place of a network in training, so that all have the gradients of the whole batch.

        Args:
            network: Equal in all processes, or sharded.
        """
        alone = self.size == 1 or is_sharded(network)
        return network if alone else DistributedDataParallel(network, gradient_as_bucket_view=True)

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors that were parted among processes, put together one after another: for the first one alone."""
        found = {}
        for name, tensor in tensors.items():
            together = whole(tensor)  # which all must ask for
            if self.is_first:
                found[name] = together
        return found


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
        why = f"lost another process ({str(error).splitlines()[0]:.100})"
        raise HeedError(f"{run}: {why}; restart all processes with heed train --resume {run}") from None


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
    elif is_sharded(network):
        network.set_requires_gradient_sync(not when)
        yield
    else:
        yield
