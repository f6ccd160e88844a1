"""Blocks done by actors on a Ray cluster: each loads the model once and has a core, some cores, or a GPU."""

import contextlib
import dataclasses
import importlib.metadata
import itertools
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from heed.cli import messages
from heed.cli.batch.job import Answer, Failure, Worker
from heed.cli.batch.model_copy import ModelOrigin
from heed.cli.batch.runner import Answers, Sent
from heed.cli.io.signals import end_on_signals
from heed.models.errors import HeedError
from heed.models.system.huge_pages import allow_huge_pages
from heed.models.system.processor import available_cores

try:
    import ray
    from ray import exceptions
except ModuleNotFoundError:
    raise HeedError("--ray needs Ray; pip install 'heed[ray]' here and on every node") from None

AHEAD = 2  # blocks that an actor has: the one it works on, and the next
TRIES = 3  # of a block, before it is set aside
STARTS = 3  # of actors that fail one after another, before the job is given up
WATCH_EVERY = 1.0  # seconds between two looks at the nodes
OBJECT_STORE = 256 << 20  # bytes of shared memory of a cluster that is started here


class Workplace:
    """What runs in an actor.

    Args:
        worker: What answers blocks.
        models: What it loads.
        version: Of the heed that started the job.
    """

    def __init__(self, worker: Worker, models: Sequence[ModelOrigin], version: str) -> None:
        allow_huge_pages()
        self._worker, self._models, self._version = worker, models, version

    def start(self) -> list[int]:
        """Load the models, if they are here; returns the numbers of those that are lacking.

        Raises:
            HeedError: They cannot be loaded, or heed here is another one.
        """
        if (here := importlib.metadata.version("heed")) != self._version:
            raise HeedError(f"it has heed {here}, and the job was started by {self._version}; install the same one")
        paths = [model.find() for model in self._models]
        lacking = [number for number, path in enumerate(paths) if path is None]
        if not lacking:
            self._answer = self._worker.load([path for path in paths if path])
        return lacking

    def install(self, names: list[tuple[int, str]], *files: np.ndarray[Any, np.dtype[np.uint8]]) -> list[int]:
        """Keep files of models here, by the models' numbers, and load them."""
        found = dict(zip(names, files, strict=True))
        for number in {number for number, _ in names}:
            self._models[number].install({name: file.tobytes() for (of, name), file in found.items() if of == number})
        return self.start()

    def work(self, request: Any) -> Answer:
        """Answer a block."""
        return self._answer(request)


@dataclasses.dataclass(eq=False)
class Actor:
    """An actor, and what it has to do."""

    handle: Any
    is_ready: bool = False
    sent: list[Sent] = dataclasses.field(default_factory=list)  # blocks, in the order in which it does them


class RayCluster:
    """Answers blocks with actors on all nodes of a cluster.

    Args:
        address: "local" starts a cluster here, "auto" finds the one of this machine; or an address.
        worker: What answers blocks.
        models: What it loads.
        cores: Of each actor.
        gpus: Of each actor.
    """

    def __init__(self, address: str, worker: Worker, models: Sequence[ModelOrigin], *, cores: int, gpus: int) -> None:
        self.n_retries = 0
        self._address, self._cores, self._gpus = address, cores, gpus
        self._models = models
        self._arguments = (worker, models, importlib.metadata.version("heed"))
        self._actors: list[Actor] = []
        self._pending: dict[Any, tuple[Actor, Sent | None]] = {}  # which actor was asked, and for what; None: to start
        self._again: deque[Sent] = deque()  # blocks to send again
        self._tries: dict[Sent, int] = {}
        self._failed_starts, self._given_up = 0, 0
        self._files: dict[tuple[int, str], Any] = {}  # of models, in the object store
        self._watched = -WATCH_EVERY

    def describe(self) -> str:
        """See `Executor`."""
        n = sum(actor.is_ready for actor in self._actors)
        return "1 worker" if n == 1 else f"{n:,} workers"

    def run(self, blocks: Iterable[Sent]) -> Answers:
        """See `Executor`; joins the cluster when there is a block to do.

        Raises:
            HeedError: There is no cluster, or no actor can start.
        """
        remaining = iter(blocks)
        for first in remaining:
            with self._joined():
                yield from self._answers(itertools.chain([first], remaining))

    @contextlib.contextmanager
    def _joined(self) -> Iterator[None]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster started here
        try:
            if self._address == "local":
                ray.init(
                    "local",
                    num_cpus=max(available_cores(), self._cores),
                    object_store_memory=OBJECT_STORE,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            else:
                ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # noqa: BLE001 - Ray raises no other, where its processes are late
            reason = str(error).splitlines()[0]
            way_out = "try again" if self._address == "local" else "start one with ray start --head, or use --ray local"
            raise HeedError(f"--ray {self._address}: no cluster answers ({reason}); {way_out}") from None
        end_on_signals()  # Ray has set its own handlers
        verbose = messages.verbosity() >= messages.VERBOSE
        with contextlib.ExitStack() as stack:
            stack.callback(ray.shutdown)
            told = sys.stderr if verbose else stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(told))  # where Ray says which worker died
            yield

    def _answers(self, waiting: Iterator[Sent]) -> Iterator[tuple[Sent, Answer | Failure]]:
        while True:
            self._watch()
            is_assigned = self._assign(waiting)
            if is_assigned and not self._tries:
                return
            if not self._pending:
                time.sleep(WATCH_EVERY)  # until a node comes
                continue
            refs = list(self._pending)
            if ray.wait(refs, timeout=WATCH_EVERY)[0]:
                done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)  # all at once: each look goes through all
                for ref in done:
                    yield from self._collect(ref)

    def _watch(self) -> None:
        """Start actors on cores that are free of them: at the start, on new nodes, and where one has ended."""
        if time.monotonic() - self._watched < WATCH_EVERY:
            return
        self._watched = time.monotonic()
        places = sum(self._places(node) for node in _nodes()) - self._given_up
        for _ in range(places - len(self._actors)):
            made = ray.remote(Workplace).options(num_cpus=self._cores, num_gpus=self._gpus)
            actor = Actor(made.remote(*self._arguments))
            self._actors.append(actor)
            self._pending[actor.handle.start.remote()] = actor, None

    def _places(self, node: dict[str, Any]) -> int:
        """How many actors a node has room for."""
        if not node["Alive"]:
            return 0
        places = int(node["Resources"].get("CPU", 0) // self._cores)
        return min(places, int(node["Resources"].get("GPU", 0) // self._gpus)) if self._gpus else places

    def _assign(self, waiting: Iterator[Sent]) -> bool:
        """Give actors blocks, the idle ones first; whether all blocks are given."""
        for level in range(AHEAD):
            for actor in self._actors:
                if actor.is_ready and len(actor.sent) == level:
                    sent = self._again.popleft() if self._again else next(waiting, None)
                    if sent is None:
                        return True
                    self._tries.setdefault(sent, 0)
                    actor.sent.append(sent)
                    self._pending[actor.handle.work.remote(sent.block.request)] = actor, sent
        return False

    def _collect(self, ref: Any) -> Iterator[tuple[Sent, Answer | Failure]]:
        """Take what an actor has answered, or see that it cannot."""
        if ref not in self._pending:  # its actor has ended, and another has its block
            return
        actor, sent = self._pending.pop(ref)
        try:
            answer = ray.get(ref)
        except exceptions.RayTaskError as error:  # raised by heed or a library; the actor lives
            reason = f"{type(error.cause).__name__}: {error.cause}"
            if sent is None:
                self._dismiss(actor)
                self._not_started(reason)
            else:
                actor.sent.remove(sent)
                yield from self._failed(sent, reason)
        except exceptions.RayError as error:
            yield from self._ended(actor, error)
        else:
            if sent is None:
                self._started(actor, lacking=answer)
            else:
                actor.sent.remove(sent)
                del self._tries[sent]
                yield sent, answer

    def _started(self, actor: Actor, *, lacking: list[int]) -> None:
        if not lacking:
            actor.is_ready = True
            self._failed_starts = 0
            return
        for number in lacking:
            for path in self._models[number].files():
                if (number, path.name) not in self._files:
                    self._files[number, path.name] = ray.put(np.fromfile(path, dtype=np.uint8))
        names = [name for name in self._files if name[0] in lacking]
        self._pending[actor.handle.install.remote(names, *(self._files[name] for name in names))] = actor, None

    def _ended(self, actor: Actor, error: Exception) -> Iterator[tuple[Sent, Answer | Failure]]:
        """Send again what an actor had whose process or node is gone; only its first block may be to blame."""
        node_is_gone = "its node has died" in str(error)
        reason = "its node was lost" if node_is_gone else "its worker ended: killed, or out of memory"
        was_ready = actor.is_ready
        self._dismiss(actor)
        if not was_ready and not node_is_gone:
            self._not_started(reason)
        lost = actor.sent
        if lost and not node_is_gone:
            yield from self._failed(lost.pop(0), reason)
        self.n_retries += len(lost)
        self._again.extendleft(reversed(lost))

    def _dismiss(self, actor: Actor) -> None:
        """Forget an actor."""
        self._actors.remove(actor)
        self._pending = {ref: asked for ref, asked in self._pending.items() if asked[0] is not actor}
        with contextlib.suppress(exceptions.RayError):
            ray.kill(actor.handle)

    def _not_started(self, reason: str) -> None:
        """Count an actor that could not start; its place stays empty once others have failed, too.

        Raises:
            HeedError: No actor works.
        """
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            self._given_up += 1
            if not self._actors:
                raise HeedError(f"no worker starts: {reason}")

    def _failed(self, sent: Sent, reason: str) -> Iterator[tuple[Sent, Answer | Failure]]:
        """Send a block again; one that has failed too often is set aside."""
        self._tries[sent] += 1
        if self._tries[sent] < TRIES:
            self.n_retries += 1
            self._again.append(sent)
            return
        del self._tries[sent]
        yield sent, Failure(f"{TRIES} times, the last time because of {reason}")


def _nodes() -> list[dict[str, Any]]:
    """Ray's table of nodes; its function has no types."""
    return cast("list[dict[str, Any]]", cast("Any", ray).nodes())
