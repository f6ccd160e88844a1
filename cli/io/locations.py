"""Names of inputs and outputs: paths, patterns of paths, and URLs that fsspec understands."""

import contextlib
import errno
import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from heed.models.errors import DataError, HeedError
from heed.models.patterns import regex

URL = regex(r"[a-z][a-z0-9+.-]*://")
PATTERN = regex(r"[*?\[]")


def is_url(name: str) -> bool:
    """Whether a name is one of fsspec's, such as s3://bucket/news.en."""
    return URL.match(name) is not None


def filesystem(url: str) -> Any:
    """Fsspec's file system for a URL.

    Raises:
        HeedError: fsspec or the package for this kind of URL is not installed, or the URL cannot be used.
    """
    try:
        import fsspec  # imported here, because only URLs need it
    except ModuleNotFoundError:
        raise HeedError(f"{url}: URLs need fsspec; pip install 'heed[ray]'") from None
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        raise HeedError(f"{url}: {error}") from None


def open_input(name: str) -> BinaryIO:
    """Open a path or a URL for reading.

    Raises:
        OSError: It cannot be opened.
    """
    return cast("BinaryIO", filesystem(name).open(name, "rb")) if is_url(name) else Path(name).open("rb")


class InputPath(click.Path):
    """A path that is read. One that may not be is told as it is, which Click calls missing if a directory hides it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a path that may not be read.

        Raises:
            PermissionError: It may not be.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            is_stdin = self.allow_dash and os.fspath(value) == "-"
            if not is_stdin and Path(value).stat() and not os.access(value, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(value))
        return super().convert(value, param, ctx)


class OutputPath(click.Path):
    """A path that is written and need not be readable."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(readable=False, **settings)


class InputFile(InputPath):
    """A file, - for stdin, a pattern of files such as 'crawl/*.gz', or a URL; see `expand`."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, allow_dash=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a file that is missing and a pattern that fits none."""
        if is_url(value):
            return value
        if PATTERN.search(value) and not Path(value).exists():
            if not glob.glob(value):  # noqa: PTH207 - a pattern may begin at the root
                self.fail(f"No file fits the pattern {value!r}.", param, ctx)
            return value
        return super().convert(value, param, ctx)


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """The files of names and patterns, those of a pattern in alphabetical order.

    Raises:
        DataError: No file fits the pattern of a URL.
    """
    return tuple(file for name in names for file in _matches(name))


def _matches(name: str) -> list[str]:
    if not PATTERN.search(name):
        return [name]
    if is_url(name):
        files = filesystem(name)
        if found := sorted(map(files.unstrip_protocol, files.glob(name))):
            return found
        raise DataError(f"{name}: no file fits this pattern; check the name")
    return [name] if Path(name).exists() else sorted(glob.glob(name))  # noqa: PTH207
