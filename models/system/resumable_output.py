"""Resumable output: a file that grows for hours under a temporary name and can be continued."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from heed.models.errors import HeedError
from heed.models.system.files import named_errors, sync, write_whole

COMMIT_EVERY = 1.0  # seconds between two progress notes, each of which waits for the disk


class GrownFile:
    """Grows as `path` plus ".part", and is renamed to `path` when its block ends without an error.

    A note beside it, ".part.json", records the job, and its progress when a certain number of bytes was on disk.
    Whatever ends the program, a later one can truncate the file to that size and continue. After an error in the block
    both files stay.

    Args:
        path: The file to write; the caller has checked that it may be written.
        job: What the content depends on.
        resume: Continue an earlier file.
        force: Start over, replacing an earlier job's file.

    Raises:
        HeedError: An earlier job's file exists and neither option is set; it belongs to another job; or another
            program is writing it.
    """

    def __init__(self, path: Path, job: Mapping[str, object], *, resume: bool = False, force: bool = False) -> None:
        self.path = path
        self.aside = path.with_name(path.name + ".part")
        self.progress: Any = None  # progress given to the last `write`, of this job or of the one it continues
        self._note = path.with_name(path.name + ".part.json")
        self._job = json.loads(json.dumps(job))
        self._size = 0
        self._committed = time.monotonic()
        if not resume and not force and self.aside.exists():
            raise HeedError(
                f"{self.aside}: already exists, from an unfinished job; continue with --resume, or start over "
                "with --force"
            )
        self._file = self.aside.open("r+b" if self.aside.exists() else "xb", buffering=0)
        try:
            self._lock()
            if resume and os.fstat(self._file.fileno()).st_size:
                self._size, self.progress = self._read_note()
            self._cut()
            self._commit()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "GrownFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._commit()
                self.aside.replace(self.path)
                self._note.unlink()
                sync(self.path.absolute().parent)
                return
            with contextlib.suppress(OSError):  # most likely a full disk; the last note stays valid
                self._cut()
                self._commit()

    def write(self, data: bytes, progress: object) -> None:
        """Append whole lines, and record the job's progress after them.

        Raises:
            OSError: They cannot be written; a partial write is not counted.
        """
        with named_errors(self.aside):
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        self._size += len(data)
        self.progress = progress
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self._commit()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, another process may have completed and renamed the file.
            mine = os.path.samestat(os.fstat(self._file.fileno()), self.aside.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise HeedError(f"{self.aside}: another heed is writing it; wait for it, or choose another name")

    def _read_note(self) -> tuple[int, Any]:
        """The number of valid bytes, and the job's progress at that point."""
        try:
            note = json.loads(self._note.read_bytes())
            job, size, progress = note["job"], int(note["size"]), note["progress"]
        except PermissionError:
            raise
        except (OSError, ValueError, LookupError, TypeError):
            raise HeedError(f"{self._note}: does not describe {self.aside}; start over with --force") from None
        different = sorted(name for name in job.keys() | self._job.keys() if job.get(name) != self._job.get(name))
        if different:
            raise HeedError(
                f"{self.aside}: from another job ({', '.join(different)}); repeat the command unchanged, or start "
                "over with --force"
            )
        if os.fstat(self._file.fileno()).st_size < size:
            raise HeedError(f"{self.aside}: shorter than {self._note} says; start over with --force")
        return size, progress

    def _cut(self) -> None:
        """Truncate the file to the valid bytes."""
        self._file.truncate(self._size)
        self._file.seek(self._size)

    def _commit(self) -> None:
        with named_errors(self.aside):
            os.fsync(self._file.fileno())
        note = {"job": self._job, "size": self._size, "progress": self.progress}
        write_whole(self._note, json.dumps(note, ensure_ascii=False).encode() + b"\n")
        self._committed = time.monotonic()
