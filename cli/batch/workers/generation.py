"""Answers blocks of prompts with the texts that continue them."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heed.cli.batch.job import Answer
from heed.models.errors import DataError

if TYPE_CHECKING:
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generation, Generator


class PromptRequest(NamedTuple):
    """Prompts of a block to continue."""

    prompts: Sequence[str]
    numbers: Sequence[int]  # which with the seed determine the random numbers


@dataclasses.dataclass(frozen=True)
class GenerationWorker:
    """Continues prompts; answers each with its texts, or with the reason why it is refused."""

    device: str
    threads: int | None
    config: "SampleConfig"
    beam_size: int | None  # None: sampling
    truncate: bool

    def load(self, models: Sequence[Path]) -> Callable[[PromptRequest], Answer]:
        """See `Worker`."""
        from heed.models.tasks.generator import Generator

        generator = Generator.load(models[0], device=self.device, threads=self.threads)
        return lambda request: self.answer(generator, request)

    def answer(self, generator: "Generator", request: PromptRequest) -> Answer:
        """Continue prompts with a generator."""
        errors = [self._refusal(generator, prompt) for prompt in request.prompts]
        good = [i for i, error in enumerate(errors) if error is None]
        found = iter(self.complete(generator, [request.prompts[i] for i in good], [request.numbers[i] for i in good]))
        results: list[list[Generation] | str] = [next(found) if error is None else error for error in errors]
        texts = [each for row in results if not isinstance(row, str) for each in row]
        return Answer(results, sum(len(each.tokens) for each in texts))

    @property
    def seed(self) -> int | None:
        """The seed of the random numbers; None: there are none."""
        return None if self.beam_size is not None or self.config.temperature == 0 else self.config.seed

    def complete(
        self, generator: "Generator", prompts: Sequence[str], numbers: Sequence[int]
    ) -> "list[list[Generation]]":
        """The texts for each prompt.

        Raises:
            DataError: A prompt is longer than the context.
        """
        if self.beam_size is None:
            return generator.generate(prompts, self.config, truncate=self.truncate, numbers=numbers)
        from heed.models.decoding.config import DecodeConfig

        config = DecodeConfig(beam_size=self.beam_size, max_length=self.config.max_tokens)
        return generator.search(prompts, config, n_best=self.config.n, truncate=self.truncate)

    def _refusal(self, generator: "Generator", prompt: str) -> str | None:
        try:
            generator.encode(prompt, max_tokens=self.config.max_tokens, truncate=self.truncate)
        except DataError as error:
            return str(error)
        return None
