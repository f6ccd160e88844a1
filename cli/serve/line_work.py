"""The work on batches of lines, in the server's process or in another."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heed.models.tasks.dynamic_batching import Unfinished

if TYPE_CHECKING:
    from heed.models.tasks.translation.line_task import LineTask
    from heed.models.tasks.translation.translation import Translation
    from heed.models.tasks.translation.translator import Translator

BATCH_SIZE = 64  # lines translated together


class Wish(NamedTuple):
    """How lines are to be translated."""

    n_best: int = 1
    is_html: bool = False


class BegunLine(NamedTuple):
    """A line that needs another search."""

    line: str
    number: int  # of its task


class Batch(NamedTuple):
    """Lines to translate together."""

    model: str  # name of the model
    lines: Sequence[str | BegunLine]
    wish: Wish


Found = list["list[Translation] | Unfinished"]


class LineWork:
    """Translates batches of lines. A line that needs another search is searched again with the next batch.

    Args:
        translator: It.
    """

    def __init__(self, translator: "Translator") -> None:
        from heed.models.tasks.translation.keeper import Keeper

        self._translator, self._keeper = translator, Keeper(translator, (), tags=True)
        self._tasks: dict[int, LineTask] = {}  # of lines that need another search
        self._numbers = itertools.count()

    def __call__(self, lines: Sequence[str | BegunLine], wish: Wish) -> Found:
        """The translations of lines, best first, as far as they are finished."""
        texts = [line if isinstance(line, str) else line.line for line in lines]
        if wish.is_html:
            return [*self._keeper.n_best(texts, n=wish.n_best, batch_size=BATCH_SIZE)]
        tasks = self._begun(lines, texts, wish.n_best)
        self._translator.advance(tasks, batch_size=BATCH_SIZE)
        self._tasks = {next(self._numbers): task for task in tasks if not task.is_done}
        numbers = iter(self._tasks)
        return [
            task.translations if task.is_done else Unfinished(BegunLine(text, next(numbers)))
            for text, task in zip(texts, tasks, strict=True)
        ]

    def _begun(self, lines: Sequence[str | BegunLine], texts: Sequence[str], n: int) -> "list[LineTask]":
        """The tasks of lines; a line begins again if its task is gone, as with the process that had it."""
        found = [None if isinstance(line, str) else self._tasks.get(line.number) for line in lines]
        new = [text for text, task in zip(texts, found, strict=True) if task is None]
        made = iter(self._translator.begin(new, n))
        return [task or next(made) for task in found]


def load(models: Mapping[str, Path]) -> Callable[[Batch], Found]:
    """What works on batches in a process of its own, given the directories of models by their names."""
    from heed.models.tasks.translation.translator import Translator

    works = {name: LineWork(Translator.load(path, threads=1, aligns=True)) for name, path in models.items()}
    return lambda batch: works[batch.model](batch.lines, batch.wish)
