"""Answers blocks of texts with their vectors."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from heed.cli.batch.job import Answer


@dataclasses.dataclass(frozen=True)
class EmbeddingWorker:
    """Embeds lines; answers with their vectors and the number of lines that were cut."""

    device: str
    threads: int | None
    prefix: str | None
    batch_size: int

    def load(self, models: Sequence[Path]) -> Callable[[Sequence[str]], Answer]:
        """See `Worker`."""
        from heed.models.tasks.embedder import Embedder

        embedder = Embedder.load(models[0], device=self.device, threads=self.threads, prefix=self.prefix)

        def answer(texts: Sequence[str]) -> Answer:
            before = embedder.n_cut
            vectors = embedder.embed(texts, self.batch_size)
            return Answer((vectors, embedder.n_cut - before), 0)

        return answer
