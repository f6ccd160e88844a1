"""Progress of a translation: a live line on stderr, if it is a terminal."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from heed.cli import messages
from heed.models.system.threads import is_refused

if TYPE_CHECKING:
    from rich.progress import Progress


class LineProgress:
    """Shows lines done, lines per second and time left; nothing if stderr is not a terminal.

    Args:
        total: Bytes of the inputs, if known.
        hidden: Show nothing, because the terminal shows the lines themselves.
    """

    def __init__(self, total: int | None, *, hidden: bool) -> None:
        self._n_lines = 0
        self._bar: Progress | None = None
        if hidden or not (sys.stderr and sys.stderr.isatty()):
            return
        # Imported here, so that a pipe does not wait for Rich.
        from rich import progress

        words = (
            progress.TextColumn("{task.fields[n_lines]:,} lines"),
            progress.TextColumn("{task.fields[speed]:,.0f} lines/s"),
        )
        known = (progress.BarColumn(bar_width=20), progress.TaskProgressColumn())
        columns = (*known, *words, progress.TimeRemainingColumn()) if total else (*words, progress.TimeElapsedColumn())
        self._bar = bar = progress.Progress(*columns, console=messages.console(), transient=True)
        self._task = bar.add_task("", total=total, n_lines=0, speed=0.0)

    @property
    def is_live(self) -> bool:
        """Whether somebody sees the line."""
        return self._bar is not None

    def __enter__(self) -> "LineProgress":
        if self._bar:
            try:
                self._bar.start()
            except RuntimeError as error:
                if not is_refused(error):
                    raise
                self._bar = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def add(self, n_lines: int, position: int) -> None:
        """Count translated lines; `position` is how many bytes of the inputs they took."""
        self._n_lines += n_lines
        if self._bar:
            task = self._bar.tasks[self._task]
            speed = self._n_lines / task.elapsed if task.elapsed else 0.0
            self._bar.update(self._task, completed=position, n_lines=self._n_lines, speed=speed)
