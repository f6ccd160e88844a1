"""Search for the translations of many sources: batches of similar length, each searched by a thread."""

from collections.abc import Iterable, Sequence

from heed.models.decoding.batching import padded, plan_batches
from heed.models.decoding.beam_search import Hypothesis, length_penalty, search
from heed.models.decoding.config import ROOM, DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Requirement
from heed.models.runtime.states import States
from heed.models.system.forks import call_in_children
from heed.models.system.threads import ThreadPool


class BatchSearch:
    """Beam search over batches of similar length, each in a thread of its own.

    Args:
        states: Decoding states.
        whole: Decoding states over the whole vocabulary, for searches with requirements.
        special: Special token ids.
        context: Maximum length of an output; None: no limit.
        workers: Number of threads.
    """

    def __init__(
        self, states: States, whole: States, special: SpecialIds, context: int | None, *, workers: int
    ) -> None:
        self._states, self._whole = states, whole
        self._special, self._context, self._workers = special, context, workers
        self._start_pool()
        call_in_children(self._start_pool)

    def _start_pool(self) -> None:
        self._pool = ThreadPool(self._workers)  # starts threads on demand

    def close(self) -> None:
        """End the threads; a later search is told that the model is closed."""
        self._pool.shutdown()
        self._start_pool()

    def search(
        self,
        sources: Sequence[list[int]],
        config: DecodeConfig,
        n_best: int,
        batch_size: int,
        requirements: Sequence[Requirement] | None = None,
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each source; with requirements, only hypotheses that meet them."""
        # Every idle worker gets a share; the longest batches go first, so that no worker is left with one at the end.
        share = max(1, min(batch_size, -(-len(sources) // self._states.n_free)))
        batches = list(plan_batches([len(source) for source in sources], share))[::-1]
        found: dict[int, list[Hypothesis]] = {}
        searched = self._search_all(sources, batches, config, n_best, requirements)
        for batch, results in zip(batches, searched, strict=True):
            found.update(zip(batch, results, strict=True))
        return [found[i] for i in range(len(sources))]

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

    def _search_all(
        self,
        sources: Sequence[list[int]],
        batches: list[list[int]],
        config: DecodeConfig,
        n_best: int,
        requirements: Sequence[Requirement] | None,
    ) -> Iterable[list[list[Hypothesis]]]:
        states = self._whole if requirements else self._states

        def decode(batch: list[int]) -> list[list[Hypothesis]]:
            required = [requirements[i] for i in batch] if requirements else None
            with states.borrow() as state:
                return search(
                    state,
                    [sources[i] for i in batch],
                    config,
                    self._special,
                    n_best=n_best,
                    context=self._context,
                    requirements=required,
                )

        if min(self._workers, len(batches)) <= 1:
            return map(decode, batches)
        return self._pool.map(decode, batches)
