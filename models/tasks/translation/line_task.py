"""A line that is translated step by step, its sentences together with those of other lines."""

from collections.abc import Iterator
from typing import NamedTuple

from heed.models.tasks.translation.batch_search import Jobs
from heed.models.tasks.translation.translation import Sentence, Translation, combine


class LineTask(NamedTuple):
    """A line that is being translated."""

    sentences: list[Sentence]
    jobs: Jobs[list[Translation]]  # of the sentences that have tokens
    n: int  # number of translations that are wanted

    @property
    def is_done(self) -> bool:
        """Whether it has its translations."""
        return not self.jobs.asked

    @property
    def translations(self) -> list[Translation]:
        """The best translations of the line, when it is done; see `Translator.n_best`."""
        return joined(self.sentences, iter(self.jobs.results), self.n)


def joined(line: list[Sentence], found: Iterator[list[Translation]], n: int) -> list[Translation]:
    """The best translations of a line, given those of its sentences that have tokens."""
    return combine([(each, next(found) if each.tokens else [each.unchanged()]) for each in line], n)
