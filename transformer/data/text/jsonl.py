"""JSON lines: objects with text fields."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.transformer.data.text.lines import OnBad, lines, refuse

Record = dict[str, object]


def records(path: str, on_bad: OnBad = refuse) -> Iterator[tuple[str, Record]]:
    """The objects of a file, each with its place; blank lines are skipped.

    Args:
        path: Of the file.
        on_bad: Is called for a line that is no object, which is then passed over.

    Raises:
        DataError: A line is not a JSON object.
    """
    for number, line in enumerate(lines(Path(path), on_bad), 1):
        where = f"{path}: line {number}"
        if not line.strip():
            continue
        try:
            record = _object(line, where)
        except DataError as error:
            on_bad(error)
            continue
        yield where, record


def texts(path: str, fields: Sequence[str], on_bad: OnBad = refuse) -> Iterator[tuple[str, ...]]:
    """The texts in some fields of each object of a file; see `records` and `text_of`.

    Raises:
        DataError: A line is bad.
    """
    for where, record in records(path, on_bad):
        try:
            found = tuple(text_of(record, field, where) for field in fields)
        except DataError as error:
            on_bad(error)
            continue
        yield found


def text_of(record: Record, field: str, where: str) -> str:
    """The text in a field; `translation.en` is the field `en` of the object in `translation`.

    Raises:
        DataError: The field is missing or not text, or it has half of a character.
    """
    value = _value(record, field)
    if not isinstance(value, str):
        fields = ", ".join(record) or "none"
        raise DataError(f"{where} has no text in a field {field!r} (its fields: {fields}); correct it, or name another")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise DataError(f"{where} has {half} in its field {field!r}, half of a character; correct it") from None
    return value


def _object(line: str, where: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}); correct or delete it") from None
    if not isinstance(record, dict):
        raise DataError(f"{where} is not a JSON object; correct or delete it")
    return record


def _value(record: Record, field: str) -> object:
    """What is in a field; a field that has just that name goes before one within another."""
    if field in record:
        return record[field]
    found: object = record
    for name in field.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
