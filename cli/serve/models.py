"""The models of a server, loaded once."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.refusal import Refusal
from heed.cli.serve.streams import Streams
from heed.models.errors import ModelError
from heed.models.tasks.dynamic_batching import DynamicBatcher, Unfinished

if TYPE_CHECKING:
    from heed.models.arrays import FloatArray
    from heed.models.bundle.manifest import Manifest
    from heed.models.tasks.embedder import Embedder
    from heed.models.tasks.generator import Generator
    from heed.models.tasks.translation.line_task import LineTask
    from heed.models.tasks.translation.translation import Translation
    from heed.models.tasks.translation.translator import Translator

BATCH_SIZE = 64  # lines translated together


class Wish(NamedTuple):
    """How lines are to be translated."""

    n_best: int = 1
    is_html: bool = False


class Setup(NamedTuple):
    """What all models of a server are loaded with."""

    limits: Limits  # of requests
    metrics: Metrics  # where work is counted
    device: str  # "cpu" or "cuda"
    threads: int | None  # CPU threads of each; None: as many as the cores that this process may use


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
        from heed.models.tasks.translation.keeper import Keeper

        self.name, self.translator, self.metrics = name, translator, metrics
        self.source, self.target = languages
        self._keeper = Keeper(translator, (), tags=True)
        self.batcher = DynamicBatcher(self._translate, threads=translator.workers, batch_size=BATCH_SIZE)
        metrics.waiting.labels(name).set_function(lambda: self.batcher.n_waiting)

    @classmethod
    def load(cls, path: Path, manifest: "Manifest", setup: Setup) -> "ServedTranslator":
        """Load a model."""
        from heed.models.tasks.translation.translator import Translator

        translator = Translator.load(path, device=setup.device, threads=setup.threads, aligns=True)
        return cls(manifest.name, translator, (manifest.src_language, manifest.tgt_language), setup.metrics)

    def _translate(self, lines: "list[str | LineTask]", wish: Wish) -> "list[list[Translation] | Unfinished]":
        """Translate lines, and go on with those that other batches have begun."""
        self.metrics.batch.labels(self.name).observe(len(lines))
        found = self._kept(lines, wish.n_best) if wish.is_html else self._advanced(lines, wish.n_best)
        done = [best for best in found if isinstance(best, list)]
        self.metrics.lines.labels(self.name).inc(len(done))
        self.metrics.tokens.labels(self.name).inc(sum(len(best[0].tokens) for best in done))
        return found

    def _kept(self, lines: "Sequence[str | LineTask]", n: int) -> "list[list[Translation] | Unfinished]":
        texts = [line for line in lines if isinstance(line, str)]
        return [*self._keeper.n_best(texts, n=n, batch_size=BATCH_SIZE)]

    def _advanced(self, lines: "Sequence[str | LineTask]", n: int) -> "list[list[Translation] | Unfinished]":
        """Search once for each line: one that is to be searched again joins the next batch."""
        begun = iter(self.translator.begin([line for line in lines if isinstance(line, str)], n))
        tasks = [next(begun) if isinstance(line, str) else line for line in lines]
        self.translator.advance(tasks, batch_size=BATCH_SIZE)
        return [task.translations if task.is_done else Unfinished(task) for task in tasks]

    def close(self) -> None:
        """Complete what was asked for, and free the model."""
        self.batcher.close()
        self.translator.close()


class ServedGenerator:
    """A language model.

    Args:
        name: Its name for clients.
        generator: The model.
        limit: Requests for which it generates at a time.
    """

    task = "generate"

    def __init__(self, name: str, generator: "Generator", limit: int) -> None:
        self.name, self.generator = name, generator
        self.streams = Streams(generator, limit)

    @classmethod
    def load(cls, path: Path, manifest: "Manifest", setup: Setup) -> "ServedGenerator":
        """Load a model."""
        from heed.models.tasks.generator import Generator

        generator = Generator.load(path, device=setup.device, threads=setup.threads)
        return cls(manifest.name, generator, setup.limits.streams)

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
        self.name, self.embedder = name, embedder
        self.batcher = DynamicBatcher(self._embed, batch_size=BATCH_SIZE)

    @classmethod
    def load(cls, path: Path, manifest: "Manifest", setup: Setup) -> "ServedEmbedder":
        """Load a model."""
        from heed.models.tasks.embedder import Embedder

        return cls(manifest.name, Embedder.load(path, device=setup.device, threads=setup.threads))

    def _embed(self, texts: list[str], _: None) -> "list[FloatArray]":
        return list(self.embedder.embed(texts, BATCH_SIZE))

    def close(self) -> None:
        """Complete what was asked for."""
        self.batcher.close()


Served = ServedTranslator | ServedGenerator | ServedEmbedder
SERVED: "Mapping[str, Callable[[Path, Manifest, Setup], Served]]" = {
    "translate": ServedTranslator.load,
    "generate": ServedGenerator.load,
    "embed": ServedEmbedder.load,
    "fill": ServedEmbedder.load,  # whose encoder makes vectors, too
}


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

        models, setup = cls(), Setup(limits, metrics, device, threads)
        with contextlib.ExitStack() as loaded:
            loaded.callback(models.close)
            for path in paths:
                found = manifest.read(path)
                if found.name in models.by_name:
                    raise ModelError(f"{path}: another model is called {found.name!r}, too; serve one of them")
                models._add(SERVED[found.task](path, found, setup))
            loaded.pop_all()
        return models

    def _add(self, served: Served) -> None:
        self.by_name[served.name] = served
        if isinstance(served, ServedTranslator):
            languages = (served.source, served.target)
            if languages in self.by_languages:
                raise ModelError(f"{served.name}: another model has the same languages; serve one of them")
            self.by_languages[languages] = served

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
