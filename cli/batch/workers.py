"""What answers the blocks of each command: it holds settings, and loads the model where it works."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heed.cli.batch.job import Answer
from heed.models.errors import DataError

if TYPE_CHECKING:
    from heed.models.decoding.config import DecodeConfig
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generation, Generator
    from heed.models.tasks.translation.keeper import Keeper
    from heed.models.tasks.translation.translator import Translator

# Models are imported where they are loaded: who sends blocks needs none.


class TranslationRequest(NamedTuple):
    """Texts of a block to translate."""

    texts: Sequence[str]
    inside: Sequence[str]  # what mark-up each stands in; see `heed.models.text.markup.tags.scan`
    patterns: tuple[str, ...]  # of what is protected
    tags: bool  # protect mark-up, too


Translate = Callable[[TranslationRequest], Answer]


@dataclasses.dataclass(frozen=True)
class TranslationWorker:
    """Translates; answers with the best translations of each text."""

    device: str
    threads: int | None
    loading: Mapping[str, Any]  # other arguments of Translator.load
    glossary: bytes | None  # the content of the file
    config: "DecodeConfig"
    n_best: int
    batch_size: int
    aligned: bool  # link the words of translations

    def load(self, models: Sequence[Path]) -> Translate:
        """See `Worker`."""
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".tsv") as file:
            file.write(self.glossary or b"")
            file.flush()
            glossary = Path(file.name) if self.glossary is not None else None
            return self.using(self._load(models, glossary))

    def _load(self, models: Sequence[Path], glossary: Path | None) -> "Translator":
        from heed.models.tasks.translation.translator import Translator

        return Translator.load(models, device=self.device, threads=self.threads, glossary=glossary, **self.loading)

    def using(self, translator: "Translator") -> Translate:
        """What answers requests with a translator."""
        from heed.models.tasks.translation.keeper import Keeper

        keepers: dict[tuple[tuple[str, ...], bool], Keeper] = {}

        def answer(request: TranslationRequest) -> Answer:
            key = (request.patterns, request.tags)
            if key not in keepers:
                keepers[key] = Keeper(translator, request.patterns, tags=request.tags)
            return self._answer(keepers[key], request)

        return answer

    def _answer(self, keeper: "Keeper", request: TranslationRequest) -> Answer:
        found = keeper.n_best(
            request.texts,
            self.config,
            self.n_best,
            batch_size=self.batch_size,
            inside=request.inside,
            aligned=self.aligned,
        )
        return Answer(found, sum(len(best[0].tokens) for best in found))


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
