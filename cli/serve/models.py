"""The models of a server, loaded once."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heed.cli.processes import suit_processes
from heed.cli.serve.limits import Limits
from heed.cli.serve.line_work import BATCH_SIZE, Batch, BegunLine, Found, LineWork, Wish
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.refusal import Refusal
from heed.cli.serve.streams import Streams
from heed.models.errors import ModelError
from heed.models.system.processor import available_cores
from heed.models.tasks.dynamic_batching import DynamicBatcher

if TYPE_CHECKING:
    from heed.models.arrays import FloatArray
    from heed.models.bundle.manifest import Manifest
    from heed.models.system.worker_process import WorkerProcess
    from heed.models.tasks.embedder import Embedder
    from heed.models.tasks.generator import Generator

Translate = Callable[[Sequence[str | BegunLine], Wish], Found]


class Setup(NamedTuple):
    """What all models of a server are loaded with."""

    limits: Limits  # of requests
    metrics: Metrics  # where work is counted
    device: str  # "cpu" or "cuda"
    threads: int | None  # CPU threads of each; None: as many as the cores that this process may use
    processes: "Sequence[WorkerProcess[Batch, Found]]" = ()  # that translate; none: threads do


class ServedTranslator:
    """A translation model; what clients send is translated together.

    Args:
        manifest: Its manifest.
        works: What translates batches, for each thread.
        metrics: Where lines are counted.
        close: Frees the model.
    """

    task = "translate"

    def __init__(
        self, manifest: "Manifest", works: Sequence[Translate], metrics: Metrics, close: Callable[[], None]
    ) -> None:
        self.name, self.metrics, self._close = manifest.name, metrics, close
        self.source, self.target = manifest.src_language, manifest.tgt_language
        self.beam_size = manifest.decode.beam_size
        self.batcher = DynamicBatcher([partial(self._translate, work) for work in works], batch_size=BATCH_SIZE)
        metrics.waiting.labels(self.name).set_function(lambda: self.batcher.n_waiting)

    @classmethod
    def load(cls, path: Path, manifest: "Manifest", setup: Setup) -> "ServedTranslator":
        """Load a model."""
        if setup.processes:
            works = [partial(_asked, process, manifest.name) for process in setup.processes]
            return cls(manifest, works, setup.metrics, lambda: None)
        from heed.models.tasks.translation.translator import Translator

        translator = Translator.load(path, device=setup.device, threads=setup.threads, aligns=True)
        return cls(manifest, [LineWork(translator) for _ in range(translator.workers)], setup.metrics, translator.close)

    def _translate(self, work: Translate, lines: list[str | BegunLine], wish: Wish) -> Found:
        self.metrics.batch.labels(self.name).observe(len(lines))
        found = work(lines, wish)
        done = [best for best in found if isinstance(best, list)]
        self.metrics.lines.labels(self.name).inc(len(done))
        self.metrics.tokens.labels(self.name).inc(sum(len(best[0].tokens) for best in done))
        return found

    def close(self) -> None:
        """Complete what was asked for, and free the model."""
        self.batcher.close()
        self._close()


def _asked(process: "WorkerProcess[Batch, Found]", model: str, lines: Sequence[str | BegunLine], wish: Wish) -> Found:
    return process.ask(Batch(model, lines, wish))


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
        self.batcher = DynamicBatcher([self._embed], batch_size=BATCH_SIZE)

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
        self._processes: Sequence[WorkerProcess[Batch, Found]] = ()  # that translate

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

        models, found = cls(), [(path, manifest.read(path)) for path in paths]
        with contextlib.ExitStack() as loaded:
            loaded.callback(models.close)
            translators = {each.name: path for path, each in found if each.task == "translate"}
            models._processes = _processes(translators, device, threads or available_cores())
            setup = Setup(limits, metrics, device, threads, models._processes)
            for path, each in found:
                if each.name in models.by_name:
                    raise ModelError(f"{path}: another model is called {each.name!r}, too; serve one of them")
                models._add(SERVED[each.task](path, each, setup))
            for process in models._processes:
                for name in translators:
                    process.ask(Batch(name, [], Wish()))  # fails where a model could not be loaded
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
        for process in self._processes:
            process.close()


def _processes(models: Mapping[str, Path], device: str, n: int) -> "list[WorkerProcess[Batch, Found]]":
    """Processes, each of which loads models by their names; none where threads do as well, or are all there can be."""
    if n == 1 or not models or not suit_processes([*models.values()], device):
        return []
    from heed.cli.serve import line_work
    from heed.models.system.worker_process import WorkerProcess

    with contextlib.ExitStack() as started:
        try:
            found = [started.enter_context(WorkerProcess(partial(line_work.load, models))) for _ in range(n)]
        except OSError:
            return []
        started.pop_all()
    return found
