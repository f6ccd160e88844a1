"""Where outputs are kept: files on disk, or what fsspec reaches by a URL."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from heed.cli.io.locations import filesystem, is_url
from heed.models.system.files import named_errors, sync, write_whole

CHUNK = 1 << 22  # bytes copied at a time


class Storage(Protocol):
    """Keeps files whole: each appears complete or not at all."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def names(self, directory: str) -> set[str]:
        """The names of the files in a directory, which may be missing."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a small file; its directory is made if it is missing."""
        ...

    def join(self, names: Iterable[str], aside: str, name: str) -> None:
        """Write files one after another to `aside`, which then becomes `name`."""
        ...

    def remove(self, directory: str) -> None:
        """Remove a directory and what is in it, if it is there."""
        ...


class Disk:
    """Files of this machine, or of a network that looks like it."""

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        return Path(name).exists()

    def names(self, directory: str) -> set[str]:
        """See `Storage`."""
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(directory))  # noqa: PTH208 - names, without a Path for each
        return set()

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, data)

    def join(self, names: Iterable[str], aside: str, name: str) -> None:
        """See `Storage`."""
        path, whole = Path(name), Path(aside)
        whole.parent.mkdir(exist_ok=True)
        with named_errors(path), whole.open("wb") as file:
            for each in names:
                with Path(each).open("rb") as piece:
                    shutil.copyfileobj(piece, file, CHUNK)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(path)
        sync(path.absolute().parent)

    def remove(self, directory: str) -> None:
        """See `Storage`."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory)


class Remote:
    """What fsspec reaches, such as s3://bucket/name.

    Args:
        url: Of anything there.

    Raises:
        HeedError: fsspec or the package for this kind of URL is not installed.
    """

    def __init__(self, url: str) -> None:
        self._files: Any = filesystem(url)

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        return bool(self._files.exists(name))

    def names(self, directory: str) -> set[str]:
        """See `Storage`."""
        self._files.invalidate_cache()
        try:
            found = self._files.ls(directory, detail=False)
        except FileNotFoundError:
            return set()
        return {str(name).rstrip("/").rsplit("/", 1)[-1] for name in found}

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        self._files.makedirs(name.rsplit("/", 1)[0], exist_ok=True)
        aside = f"{name}.new"
        self._files.pipe_file(aside, data)
        self._files.mv(aside, name)

    def join(self, names: Iterable[str], aside: str, name: str) -> None:
        """See `Storage`."""
        self._files.makedirs(aside.rsplit("/", 1)[0], exist_ok=True)
        with self._files.open(aside, "wb") as file:
            for each in names:
                with self._files.open(each, "rb") as piece:
                    shutil.copyfileobj(piece, file, CHUNK)
        self._files.mv(aside, name)

    def remove(self, directory: str) -> None:
        """See `Storage`."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(directory, recursive=True)


def storage(name: str) -> Storage:
    """What keeps a path or URL."""
    return Remote(name) if is_url(name) else Disk()
