"""A run of `heed translate`: its jobs, done by this process or in blocks."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli.batch.workers.translation import TranslationWorker
from heed.cli.io import results
from heed.cli.io.line_progress import LineProgress
from heed.cli.io.outputs import open_output
from heed.cli.jobs import Job
from heed.cli.loading import search_config
from heed.cli.options import BEAM_SEARCH
from heed.cli.translation.pipeline import Pipeline, processes
from heed.cli.translation.translated_file import Settings, TranslatedFile, TranslationJob
from heed.models.bundle import catalog, manifest
from heed.models.errors import HeedError
from heed.models.system.files import sha256
from heed.models.tasks.translation.translator import WINDOW

if TYPE_CHECKING:
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.translation.translator import Translator


class Run:
    """The jobs of a command and what they share.

    Args:
        jobs: What to translate.
        paths: The directories of the models.
        asked: The options.
        shard: The number of the shard, counted from 1, and the number of shards.
        loading: How the models are loaded; see `heed.models.tasks.translation.loading.load`.
        threads: CPU threads; None: as many as the cores that this process may use.
    """

    def __init__(
        self,
        jobs: list[Job],
        paths: list[Path],
        asked: dict[str, Any],
        shard: tuple[int, int] | None,
        loading: dict[str, Any],
        threads: int | None,
    ) -> None:
        self._jobs, self._paths, self._asked, self._shard = jobs, paths, asked, shard
        self._loading, self._threads = loading, threads

    def here(self, translator: "Translator", *, resume: bool, force: bool) -> int:
        """Do all jobs with a translator of the models; returns the exit status.

        Args:
            translator: What translates, in this process.
            resume: Whether to go on with an output that has begun.
            force: Whether to replace an output.

        Raises:
            HeedError: The only job fails. The error of one of several is told, and the others are done.
            click.UsageError: Options exclude each other.
        """
        settings, status = self._settings(translator.pieces), 0
        worker = self._worker(translator.config, self._threads)
        with Pipeline(worker.using(translator), processes(worker, self._paths, translator.workers)) as pipeline:
            for job in self._jobs:
                try:
                    _translate(job, settings, pipeline, resume=resume, force=force)
                except HeedError as error:
                    if len(self._jobs) == 1:
                        raise
                    click.echo(f"Error: {error}", err=True)
                    status = status or error.exit_code
        return status

    def in_blocks(self, *, ray: str | None, force: bool) -> int:
        """Do all jobs in blocks, here or on a Ray cluster; returns the exit status.

        Args:
            ray: Address of the cluster; None: here.
            force: Whether to replace an output.

        Raises:
            HeedError: Models, inputs or outputs cannot be used.
            click.UsageError: Options exclude each other.
        """
        from heed.cli.batch.command import run_jobs
        from heed.models.bundle.bundle import Bundle
        from heed.models.text.glossary import Glossary

        with Bundle.loading(self._paths[0]) as bundle:
            decode, (_, tgt) = bundle.require("translate").decode, bundle.tokenizers()
        if glossary := self._asked["glossary"]:
            Glossary.read(glossary, tgt)  # refuses a bad one, before workers have it under another name
        settings = self._settings(lambda tokens: [tgt.piece(token) for token in tokens])
        worker = self._worker(decode, self._threads or 1 if ray else self._threads)
        jobs = [TranslationJob(job, settings) for job in self._jobs]
        names = [name for job in self._jobs for name in job.names]
        return run_jobs(jobs, worker, self._paths, ray=ray, names=names, force=force)

    def _settings(self, pieces: results.Pieces) -> Settings:
        return Settings(
            self._asked,
            self._shard,
            self._asked["batch_size"] * WINDOW,
            _result(pieces, self._asked),
            lambda: catalog.languages_of(self._paths[0]) or ("", ""),
            self._note,
        )

    def _note(self, job: Job) -> dict[str, object]:
        """What an output depends on, besides its input."""
        import importlib.metadata  # imported here, because a start without -o does not need it

        digests = [
            sha256(path / manifest.FILE_NAME) for path in self._paths
        ]  # the manifest has the hashes of all files
        model: object = digests[0] if len(digests) == 1 else digests
        glossary = self._asked["glossary"] and sha256(self._asked["glossary"])
        asked = {"shard": self._shard, **self._asked, "input_format": job.format, "glossary": glossary}
        return {"heed": importlib.metadata.version("heed"), "model": model, **asked}

    def _worker(self, default: "DecodeConfig", threads: int | None) -> TranslationWorker:
        """What translates with the model's search settings, overridden by the options.

        Raises:
            click.UsageError: There would be more translations than hypotheses.
        """
        asked, n_best = self._asked, self._asked["n_best"] or 1
        config = search_config(default, {name: asked[name] for name in BEAM_SEARCH})
        if n_best > config.beam_size:
            raise click.UsageError(
                f"--n-best {n_best} needs a --beam-size of at least {n_best}, not {config.beam_size}."
            )
        glossary = asked["glossary"] and asked["glossary"].read_bytes()
        batch_size, aligned = asked["batch_size"], asked["alignments"]
        return TranslationWorker(asked["device"], threads, self._loading, glossary, config, n_best, batch_size, aligned)


def _translate(job: Job, settings: Settings, pipeline: Pipeline, **how: bool) -> None:
    """Translate some inputs into an output."""
    file, note = TranslatedFile(job, settings), settings.note(job) if job.output else {}
    source = file.source
    with (
        contextlib.closing(source),
        open_output(job.file, note, **how) as sink,
        LineProgress(source.size, hidden=job.output is None and sys.stdout.isatty()) as progress,
    ):
        asked = ((window, file.request(window)) for window in sink.unwritten(file.windows()))
        for window, answer in pipeline.answers(asked, source.waits):
            sink.write(file.lines(source.first + sink.n_records, window, answer.result), window)
            progress.add(len(window), source.position)
    file.tell()


def _result(pieces: results.Pieces, asked: dict[str, Any]) -> results.Result:
    if asked["as_json"]:
        return results.json_object(pieces, asked["n_best"] or 1, alignments=asked["alignments"])
    if asked["alignments"]:
        return results.aligned_moses if asked["n_best"] else results.aligned
    return results.moses if asked["n_best"] else results.filled
