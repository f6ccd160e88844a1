"""Training of `heed train`: progress, log, and signals that end it with a checkpoint."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from heed.cli import messages
from heed.cli.io.signals import ENDING

if TYPE_CHECKING:
    from heed.transformer.training.engine import Engine
    from heed.transformer.training.runs.run import Run
    from heed.transformer.training.tasks import AnyBatches
    from heed.transformer.training.trainer import Trainer


def train(run: "Run[Any]", batches: "AnyBatches", engine: "Engine") -> int | None:
    """Train; return the number of the signal that ended it, if any."""
    import torch

    from heed.cli.io.progress import TrainProgress
    from heed.transformer.training.cost import peak_flops
    from heed.transformer.training.distributed import lost_ones_told
    from heed.transformer.training.engine import choose_precision
    from heed.transformer.training.memory import settle_memory
    from heed.transformer.training.runs.log import RunLog
    from heed.transformer.training.trainer import Trainer

    processes = engine.processes
    precision = choose_precision(run.train.precision, engine.device)
    if engine.device.type != "cuda":
        settle_memory()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(TrainProgress(messages.console()))
        log = None
        if processes.is_first:
            peak = processes.size * peak_flops(engine.device, precision)
            log = stack.enter_context(RunLog(run.path, peak=peak))
        trainer: Trainer[Any] = Trainer(run, cast("Any", batches), engine, (progress,), log)
        facts = {
            **batches.facts,
            "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
            "device": str(engine.device),
            "precision": str(precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "processes": processes.size,
            "step": trainer.progress.step,
        }
        for listener in (progress, log):
            if listener:
                listener.on_start(**facts)
        with _stopped_by_signal(trainer) as came, lost_ones_told(processes, run.path):
            finished = trainer.train()
        return None if finished else max(processes.told(came), default=signal.SIGTERM)


@contextlib.contextmanager
def _stopped_by_signal(trainer: "Trainer[Any]") -> Iterator[list[int]]:
    """Let the first signal end training after the current step, and a second one at once.

    Yields:
        The signals that have arrived.
    """
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGHUP)}  # the terminal was closed
    came: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        trainer.stop()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
