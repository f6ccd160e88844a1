"""Searches for many sentences, some of which need several: batches of similar length, each searched by a thread."""

import dataclasses
import functools
import math
import threading
from bisect import insort
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from heed.models.decoding.batching import BATCH_TOKENS, padded, plan_batches
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import ROOM, DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Requirement
from heed.models.decoding.hypothesis import Hypothesis, length_penalty
from heed.models.runtime.states import States
from heed.models.system.forks import call_in_children

if TYPE_CHECKING:
    from heed.models.system.thread_pool import ThreadPool


class Query(NamedTuple):
    """What to search for."""

    source: list[int]  # token ids, with the end token
    requirement: Requirement | None = None  # what the outputs must contain
    floor: float = -math.inf  # least log-probability of an output; there may be none
    widening: int = 1  # factor of the beam size
    wants_all: bool = False  # all hypotheses of the beam, however many others want


Setting = tuple[bool, int, int]  # whether every token is needed, beam size, number of hypotheses
Result = TypeVar("Result")
Job = Generator[Query, list[Hypothesis], Result]  # asks for the best hypotheses of a query, once or more often


class Jobs(Generic[Result]):
    """Jobs that are done together, what they ask for, and their results."""

    def __init__(self, jobs: Sequence[Job[Result]]) -> None:
        self._jobs = jobs
        self.asked: dict[int, Query] = {}  # by the number of a job
        self._results: dict[int, Result] = {}
        for i in range(len(jobs)):
            self.resume(i, None)

    def resume(self, i: int, found: list[Hypothesis] | None) -> Query | None:
        """Give a job what it asked for, which is nothing at first; returns what it asks next, or None at its end."""
        self.asked.pop(i, None)
        try:
            self.asked[i] = next(self._jobs[i]) if found is None else self._jobs[i].send(found)
        except StopIteration as end:
            self._results[i] = end.value
        return self.asked.get(i)

    @property
    def results(self) -> list[Result]:
        """The results of all, in order, when nothing is asked any more."""
        return [self._results[i] for i in range(len(self._jobs))]


class BatchSearch:
    """Beam search over batches of similar length, each in a thread of its own.

    Args:
        states: Decoding states.
        whole: Decoding states that know every token, for queries with requirements; the same ones if those do.
        special: Special token ids.
        context: Maximum length of an output; None: no limit.
        workers: Number of threads.
    """

    def __init__(
        self, states: States, whole: States, special: SpecialIds, context: int | None, *, workers: int
    ) -> None:
        self._states, self._whole = states, whole
        self._special, self._context, self._workers = special, context, workers
        self._without_threads()
        call_in_children(self._without_threads)

    def _without_threads(self) -> None:
        self._pool: ThreadPool | None = None  # made when it is needed
        self._making = threading.Lock()

    def _threads(self) -> "ThreadPool":
        from heed.models.system.thread_pool import ThreadPool  # imported here: a line needs none

        with self._making:
            self._pool = self._pool or ThreadPool(self._workers)
            return self._pool

    def close(self) -> None:
        """End the threads; a later search is told that the model is closed."""
        if self._pool:
            self._pool.shutdown()
        self._without_threads()

    def search(
        self, queries: Sequence[Query], config: DecodeConfig, n_best: int, batch_size: int
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each query, best first."""
        return self.run([_once(query) for query in queries], config, n_best, batch_size)

    def score(
        self, sources: Sequence[list[int]], outputs: Sequence[list[int]], config: DecodeConfig
    ) -> list[Hypothesis]:
        """Given outputs of sources, as if a search over the whole vocabulary had found them; see `fits`."""
        special = self._special
        begun = [special.bos_id, *special.forced]
        rows = [[*begun, *output, special.eos_id] for output in outputs]
        with self._whole.borrow() as state:
            state.encode(*padded(sources))
            log_probs = state.score(padded([row[:-1] for row in rows])[0], padded([row[1:] for row in rows])[0])
        found = list[Hypothesis]()
        for output, row, of_row in zip(outputs, rows, log_probs, strict=True):
            log_prob = float(of_row[len(begun) - 1 : len(row) - 1].sum())
            penalty = length_penalty(len(row) - 1, config.length_penalty, by_length=bool(config.by_length))
            found.append(Hypothesis(output, log_prob, log_prob / float(penalty)))
        return found

    def fits(self, source: list[int], output: list[int], config: DecodeConfig) -> bool:
        """Whether a search may find an output: it is not longer than the limit, and the network can read it."""
        length = len(output) + len(self._special.forced)
        longest = config.max_length
        limit = len(source) - 1 + ROOM if longest is None else longest - bool(config.end_forced)
        return length <= limit and (self._context is None or length < self._context)

    def run(self, jobs: Sequence[Job[Result]], config: DecodeConfig, n_best: int, batch_size: int) -> list[Result]:
        """Do some jobs; a query that one asks later joins the next batch."""
        share = _share(len(jobs), batch_size, self._states.n_free)
        queue = _Queue(running := Jobs(jobs), share, functools.partial(self._setting, config, n_best))

        def work(_: int) -> None:
            while batch := queue.take():
                try:
                    queue.give(batch, self._search([query for _, query in batch], config, n_best))
                except BaseException:
                    queue.fail()
                    raise

        n_workers = min(self._workers, -(-len(jobs) // share))
        if n_workers <= 1:
            work(0)
        else:
            list(self._threads().map(work, range(n_workers)))
        return running.results

    def advance(self, groups: Sequence[Jobs[Any]], config: DecodeConfig, n_best: int, batch_size: int) -> None:
        """Search once for what each job of some groups asks, in this thread."""
        asked = [(jobs, i, query) for jobs in groups for i, query in jobs.asked.items()]
        settings = [self._setting(config, n_best, query) for _, _, query in asked]
        for setting in sorted(set(settings)):
            some = [entry for entry, its in zip(asked, settings, strict=True) if its == setting]
            for batch in plan_batches([len(query.source) for _, _, query in some], batch_size):
                found = self._search([some[place][2] for place in batch], config, n_best)
                for place, best in zip(batch, found, strict=True):
                    jobs, i, _ = some[place]
                    jobs.resume(i, best)

    def _setting(self, config: DecodeConfig, n_best: int, query: Query) -> Setting:
        """What queries of a batch have in common."""
        needs_whole = query.requirement is not None and self._whole is not self._states
        beam_size = config.beam_size * query.widening
        return needs_whole, beam_size, max(n_best, beam_size) if query.wants_all else n_best

    def _search(self, batch: Sequence[Query], config: DecodeConfig, n_best: int) -> list[list[Hypothesis]]:
        needs_whole, beam_size, n_best = self._setting(config, n_best, batch[0])
        with (self._whole if needs_whole else self._states).borrow() as state:
            return search(
                state,
                [query.source for query in batch],
                dataclasses.replace(config, beam_size=beam_size),
                self._special,
                n_best=n_best,
                context=self._context,
                requirements=[query.requirement for query in batch],
                floors=[query.floor for query in batch],
            )


def _share(n_queries: int, batch_size: int, n_workers: int) -> int:
    """The size of batches, so that each idle worker gets one, or as many as the others."""
    n_batches = -(-n_queries // (batch_size * n_workers)) * n_workers
    return max(1, -(-n_queries // max(1, n_batches)))


def _once(query: Query) -> Job[list[Hypothesis]]:
    return (yield query)


class _Queue:
    """The queries that wait, the longest first, so that no worker is left with a long batch at the end.

    Args:
        jobs: They.
        batch_size: Maximum number of queries of a batch.
        setting: What all queries of a batch have in common.
    """

    def __init__(self, jobs: Jobs[Any], batch_size: int, setting: Callable[[Query], Setting]) -> None:
        self._jobs, self._batch_size, self._setting = jobs, batch_size, setting
        self._waiting = sorted(jobs.asked.items(), key=self._rank)  # the next ones at the end
        self._n_working = 0
        self._changed = threading.Condition()

    def _rank(self, entry: tuple[int, Query]) -> tuple[tuple[bool, int, int], int]:
        """The place in the queue: plain queries come first, so that the others gather."""
        needs_whole, beam_size, n_best = self._setting(entry[1])
        return (not needs_whole, -beam_size, -n_best), len(entry[1].source)

    def take(self) -> list[tuple[int, Query]]:
        """The next batch of jobs and queries; none at the end."""
        with self._changed:
            while not self._waiting and self._n_working:
                self._changed.wait()
            if not self._waiting:
                return []
            first, longest = self._rank(self._waiting[-1])
            size = max(1, min(self._batch_size, BATCH_TOKENS // longest))
            batch = [entry for entry in self._waiting[-size:] if self._rank(entry)[0] == first]
            del self._waiting[-len(batch) :]
            self._n_working += 1
            return batch

    def give(self, batch: Sequence[tuple[int, Query]], found: Sequence[list[Hypothesis]]) -> None:
        """Resume the jobs of a batch."""
        asked = [(i, query) for (i, _), each in zip(batch, found, strict=True) if (query := self._jobs.resume(i, each))]
        with self._changed:
            for entry in asked:
                insort(self._waiting, entry, key=self._rank)
            self._n_working -= 1
            self._changed.notify_all()

    def fail(self) -> None:
        """Give up: a batch could not be searched."""
        with self._changed:
            self._waiting.clear()
            self._n_working -= 1
            self._changed.notify_all()
