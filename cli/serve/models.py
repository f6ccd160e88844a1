"""The models of a server, loaded once."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.refusal import Refusal
from heed.cli.serve.streams import Streams
from heed.models.errors import ModelError

if TYPE_CHECKING:
    from heed.models.arrays import FloatArray
    from heed.models.tasks.embedder import Embedder
    from heed.models.tasks.translation.translation import Translation
    from heed.models.tasks.translation.translator import Translator

BATCH_SIZE = 64  # lines translated together


class Wish(NamedTuple):
    """How lines are to be translated."""

    n_best: int = 1
    is_html: bool = False


class ServedTranslator:
    """A translation model; what clients send is translated together.

    Args:
        name: Its name for clients.
        translator: The model.
        languages: Codes of source and target.
        metrics: Where lines are counted.
    """

    task = "translate"

    def __init__(self, name: str, translator: "Translator", languages: tuple[str, str], metrics: Metrics) -> None:
        from heed.models.tasks.dynamic_batching import DynamicBatcher
        from heed.models.tasks.translation.keeper import Keeper

        self.name, self.translator, self.metrics = name, translator, metrics
        self.source, self.target = languages
        self._keeper = Keeper(translator, (), tags=True)
        self.batcher = DynamicBatcher(self._translate, threads=translator.workers, batch_size=BATCH_SIZE)
        metrics.waiting.labels(name).set_function(lambda: self.batcher.n_waiting)

    def _translate(self, lines: list[str], wish: Wish) -> "list[list[Translation]]":
        work = self._keeper if wish.is_html else self.translator
        found = work.n_best(lines, n=wish.n_best, batch_size=BATCH_SIZE)
        self.metrics.batch.labels(self.name).observe(len(lines))
        self.metrics.lines.labels(self.name).inc(len(lines))
        self.metrics.tokens.labels(self.name).inc(sum(len(best[0].tokens) for best in found))
        return found

    def close(self) -> None:
        """Complete what was asked for, and free the model."""
        self.batcher.close()
        self.translator.close()


class ServedGenerator:
    """A language model.

    Args:
        name: Its name for clients.
        path: Its directory.
        limit: Requests for which it generates at a time.
        device: "cpu" or "cuda".
        threads: CPU threads; None: as many as the cores that this process may use.
    """

    task = "generate"

    def __init__(self, name: str, path: Path, limit: int, *, device: str, threads: int | None) -> None:
        from heed.models.tasks.generator import Generator

        self.name, self.generator = name, Generator.load(path, device=device, threads=threads)
        self.streams = Streams(self.generator, limit)

    def close(self) -> None:
        """Complete what was asked for, and free the model."""
        self.streams.close()
        self.generator.close()


class ServedEmbedder:
    """A model that turns texts into vectors; what clients send is encoded together.

    Args:
        name: Its name for clients.
        embedder: The model.
    """

    task = "embed"

    def __init__(self, name: str, embedder: "Embedder") -> None:
        from heed.models.tasks.dynamic_batching import DynamicBatcher

        self.name, self.embedder = name, embedder
        self.batcher = DynamicBatcher(self._embed, batch_size=BATCH_SIZE)

    def _embed(self, texts: list[str], _: None) -> "list[FloatArray]":
        return list(self.embedder.embed(texts, BATCH_SIZE))

    def close(self) -> None:
        """Complete what was asked for."""
        self.batcher.close()


Served = ServedTranslator | ServedGenerator | ServedEmbedder


class ServedModels:
    """The models of a server, by what clients ask for."""

    def __init__(self) -> None:
        self.created = int(time.time())  # seconds since 1970
        self.by_name: dict[str, Served] = {}
        self.by_languages: dict[tuple[str, str], ServedTranslator] = {}

    @classmethod
    def load(
        cls, paths: Sequence[Path], limits: Limits, metrics: Metrics, *, device: str, threads: int | None
    ) -> "ServedModels":
        """Load models.

        Args:
            paths: Their directories.
            limits: Of requests.
            metrics: Where work is counted.
            device: "cpu" or "cuda".
            threads: CPU threads of each; None: as many as the cores that this process may use.

        Raises:
            ModelError: One cannot be used, or two are for the same.
        """
        from heed.models.bundle import manifest
        from heed.models.tasks.embedder import Embedder
        from heed.models.tasks.translation.translator import Translator

        models = cls()
        with contextlib.ExitStack() as loaded:
            loaded.callback(models.close)
            for path in paths:
                found = manifest.read(path)
                if found.name in models.by_name:
                    raise ModelError(f"{path}: another model is called {found.name!r}, too; serve one of them")
                if found.task == "translate":
                    languages = (found.src_language, found.tgt_language)
                    if languages in models.by_languages:
                        raise ModelError(f"{path}: another model has the same languages; serve one of them")
                    translator = Translator.load(path, device=device, threads=threads, aligns=True)
                    served = ServedTranslator(found.name, translator, languages, metrics)
                    models.by_name[found.name] = models.by_languages[languages] = served
                elif found.task == "generate":
                    models.by_name[found.name] = ServedGenerator(
                        found.name, path, limits.streams, device=device, threads=threads
                    )
                else:
                    embedder = Embedder.load(path, device=device, threads=threads)
                    models.by_name[found.name] = ServedEmbedder(found.name, embedder)
            loaded.pop_all()
        return models

    def named(self, name: str) -> Served:
        """The model of a name.

        Raises:
            Refusal: There is none.
        """
        if model := self.by_name.get(name):
            return model
        known = ", ".join(self.by_name)
        raise Refusal(404, f"there is no model {name!r}; the models are: {known}", "model_not_found")

    def close(self) -> None:
        """Complete what was asked for, and free the models."""
        for model in self.by_name.values():
            model.close()
