"""Answers blocks of texts with their scores."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from heed.cli.batch.job import Answer


@dataclasses.dataclass(frozen=True)
class ScoreWorker:
    """Scores lines of text."""

    device: str
    threads: int | None
    end: bool  # include the end-of-text token

    def load(self, models: Sequence[Path]) -> Callable[[Sequence[str]], Answer]:
        """See `Worker`."""
        from heed.models.tasks.scorer import Scorer

        scorer = Scorer.load(models[0], "generate", device=self.device, threads=self.threads)

        def answer(texts: Sequence[str]) -> Answer:
            scores = scorer.score([scorer.passage(text, end=self.end) for text in texts])
            return Answer(scores, sum(score.n_tokens for score in scores))

        return answer
