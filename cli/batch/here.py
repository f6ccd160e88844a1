"""Blocks done one after another in this process."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from heed.cli.batch.job import Worker
from heed.cli.batch.runner import Answers, Sent


class Here:
    """Answers blocks with one worker in this process.

    Args:
        worker: It.
        models: Directories of its model, or of those of an ensemble.
    """

    n_retries = 0

    def __init__(self, worker: Worker, models: Sequence[Path]) -> None:
        self._worker, self._models = worker, models

    def run(self, blocks: Iterable[Sent]) -> Answers:
        """See `Executor`; an error is nobody's but the caller's."""
        answer = None
        for sent in blocks:
            answer = answer or self._worker.load(self._models)
            yield sent, answer(sent.block.request)

    def describe(self) -> str:
        """See `Executor`."""
        return "1 worker"
