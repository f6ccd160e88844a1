"""Lines of text files as a stream, so that a file may be larger than memory."""

import codecs
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from heed.models.errors import DataError
from heed.models.system.compression import decompressed, is_damage
from heed.models.text.encoding import other_encoding

PROBED = 100  # lines; those after the first begin with the second half of a line end
FORMATS = {".gz": "gzip", ".zst": "Zstandard"}
OnBad = Callable[[DataError], object]  # what becomes of a bad line: `refuse` raises its error


def refuse(error: DataError) -> None:
    """Raise the error of a bad line."""
    raise error


def lines(path: Path, on_bad: OnBad = refuse) -> Iterator[str]:
    r"""The lines of a text file, split only at \n (str.splitlines also splits at U+2028 and others).

    Args:
        path: Of the file.
        on_bad: Is called for a line that is not UTF-8, which is then passed over.

    Raises:
        DataError: The file is UTF-16, a line is no UTF-8, or a compressed file is damaged.
        HeedError: Nothing here can read `.zst`.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file, decompressed(file, path.name) as content, _damage_named(path):
        stream = content if content is file else io.BufferedReader(content)  # type: ignore[type-var]
        for number, line in enumerate(stream, 1):
            if number <= PROBED and (wrong := other_encoding(line[number > 1 :])):
                raise DataError(f"{path}: {wrong}")
            if number == 1 and line.startswith(codecs.BOM_UTF8):  # a byte-order mark is not text
                line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
                if not line:
                    return
            try:
                text = _decode(line.removesuffix(b"\n").removesuffix(b"\r"), path, number)
            except DataError as error:
                on_bad(error)
                continue
            yield text


def read_lines(path: Path) -> list[str]:
    """All lines of a file, in memory; see `lines`."""
    return list(lines(path))


def plain_suffix(path: str) -> str:
    """The suffix of a file's name without that of its compression."""
    name = Path(path)
    return (name.with_suffix("") if name.suffix in FORMATS else name).suffix


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if path.suffix in FORMATS and is_damage(error):
            name = FORMATS[path.suffix]
            raise DataError(f"{path}: not a complete {name} file ({error}); make or copy it again") from None
        raise


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: line {number} is not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); "
            f"convert the file with iconv, or correct the line"
        ) from None
