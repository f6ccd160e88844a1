"""What `heed translate` makes of one output's inputs: records, what is asked of a translator, lines, and warnings."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from heed.cli import messages
from heed.cli.batch.job import Answer, Block, Numbering
from heed.cli.batch.workers.translation import TranslationRequest
from heed.cli.io import results
from heed.cli.io.formats import choice
from heed.cli.io.formats.marks import KEPT
from heed.cli.io.inputs import Inputs, warn_replaced
from heed.cli.io.outputs import in_growing_steps
from heed.cli.io.records import Decoder, Record
from heed.cli.jobs import Job
from heed.cli.translation import kept
from heed.cli.translation.source_language import SourceLanguage

INVITATION = "Type lines to translate; Ctrl-D ends."


class Settings(NamedTuple):
    """What the outputs of a command share."""

    asked: dict[str, Any]  # the options
    shard: tuple[int, int] | None
    limit: int  # lines that are translated together, at most
    result: results.Result
    languages: Callable[[], tuple[str, str]]  # of the texts and of the translations; empty: not known
    note: Callable[[Job], dict[str, object]]  # what an output depends on, besides its input


class TranslatedFile:
    """The translation of some inputs into an output.

    Args:
        job: Inputs, output and format.
        settings: The command's.
    """

    def __init__(self, job: Job, settings: Settings) -> None:
        self._job, self._settings = job, settings
        asked = settings.asked
        self._decoder = Decoder(strict=asked["strict"])
        source, target = settings.languages()
        self._format = choice.Reading.asked(asked, lambda: target).format(job.format, self._decoder)
        self._language = SourceLanguage(source)
        self._tags = bool(asked["keep_tags"] or self._format.has_marks)
        self._patterns: tuple[str, ...] = (KEPT, *asked["protect"]) if self._format.has_marks else asked["protect"]
        self._report = kept.Report("text" if self._format.has_marks else "line")
        self._markup = kept.OpenMarkup()
        keeps_mark = job.format not in choice.LINE_FORMATS
        self.source = Inputs(job.names, settings.shard, keeps_mark=keeps_mark, invitation=INVITATION)

    def windows(self) -> Iterator[list[Record]]:
        """The records, in lists of those that have arrived.

        Raises:
            DataError: An input cannot be read.
        """
        limit = self._settings.limit
        windows = self._format.records(self.source.windows(limit), limit)
        if self._settings.asked["keep_tags"] and self._job.format == "lines":
            windows = self._markup.follow(windows)
        return windows

    def request(self, records: list[Record]) -> TranslationRequest:
        """What a translator is asked."""
        texts = [text for record in records for text in record.texts]
        self._language.look(texts)
        inside = [record.inside for record in records for _ in record.texts]
        return TranslationRequest(texts, inside, self._patterns, self._tags)

    def lines(self, first: int, records: list[Record], best: results.Best) -> bytes:
        """The lines of the output for some records; `first` is the number of the first one."""
        self._report.add(first, best)
        found = iter(best)
        numbered = enumerate(((record, [next(found) for _ in record.texts]) for record in records), start=first)
        return b"".join(self._settings.result(number, *each) for number, each in numbered)

    def tell(self) -> None:
        """Tell what the user must know of the output."""
        job = self._job
        where = f"{job.output}: " if job.output and len(job.names) == 1 else ""
        for told in self._report.notes():
            (messages.note if job.output else messages.detail)(f"{where}{told}")  # a filter in a pipe says the least
        for warning in [*self._report.warnings(), *self._markup.warnings(), *self._format.warnings()]:
            messages.warning(f"{where}{warning}")
        warn_replaced(self._decoder)


class TranslationJob:
    """A job of a large translation: it is read when its turn comes.

    Args:
        job: Inputs, output and format.
        settings: The command's.
    """

    def __init__(self, job: Job, settings: Settings) -> None:
        assert job.output is not None
        self.output = job.output
        self._job, self._settings = job, settings
        self._file: TranslatedFile | None = None

    @property
    def position(self) -> int:
        """See `FileJob`."""
        return self._file.source.position if self._file else 0

    def blocks(self) -> Iterator[Block]:
        """See `FileJob`; the steps are those in which one process does the job."""
        self._file = file = TranslatedFile(self._job, self._settings)
        numbering = Numbering(self._settings.note(self._job))
        with contextlib.closing(file.source):
            yield from numbering.blocks(in_growing_steps(file.windows()), lambda _, records: file.request(records))

    def written(self, block: Block, answer: Answer) -> bytes:
        """See `FileJob`."""
        assert self._file
        return self._file.lines(block.first, block.records, answer.result)

    def close(self) -> None:
        """See `FileJob`."""
        assert self._file
        self._file.tell()
        self._file = None
