"""Answers blocks of texts with their translations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heed.cli.batch.job import Answer
from heed.models.records import record
from heed.models.tasks.translation.keeper import Keeper

if TYPE_CHECKING:
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.translation.translator import Translator


class TranslationRequest(NamedTuple):
    """Texts of a block to translate."""

    texts: Sequence[str]
    inside: Sequence[str]  # what mark-up each stands in; see `heed.models.text.markup.tags.scan`
    patterns: tuple[str, ...]  # of what is protected
    tags: bool  # protect mark-up, too

    def parts(self, size: int) -> "list[TranslationRequest]":
        """Requests of at most so many texts."""
        starts = range(0, len(self.texts), size)
        cut = [(self.texts[start : start + size], self.inside[start : start + size]) for start in starts]
        return [self._replace(texts=texts, inside=inside) for texts, inside in cut]


Translate = Callable[[TranslationRequest], Answer]


@record(frozen=True)
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
        keepers: dict[tuple[tuple[str, ...], bool], Keeper] = {}

        def answer(request: TranslationRequest) -> Answer:
            key = (request.patterns, request.tags)
            if key not in keepers:
                keepers[key] = Keeper(translator, request.patterns, tags=request.tags)
            return self._answer(keepers[key], request)

        return answer

    def _answer(self, keeper: Keeper, request: TranslationRequest) -> Answer:
        found = keeper.n_best(
            request.texts,
            self.config,
            self.n_best,
            batch_size=self.batch_size,
            inside=request.inside,
            aligned=self.aligned,
        )
        return Answer(found, sum(len(best[0].tokens) for best in found))
