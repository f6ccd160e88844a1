"""Messages of Protocol Buffers, read and written field by field: enough for ONNX graphs, without the package onnx."""

from collections.abc import Iterator
from typing import NamedTuple

DELIMITED = 2  # wire type of bytes, text and messages


class Field(NamedTuple):
    """A field of a message."""

    number: int
    value: memoryview  # bytes, text or a message; empty for a number
    whole: memoryview  # with its tag, as it stands in the message


Span = tuple[int, int, int, int]  # of a field: its number, and where its tag, its value and what follows it begin


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        ValueError: It is not one.
    """
    for number, start, value, end in spans(bytes(message), 0, len(message)):
        yield Field(number, message[value:end], message[start:end])


def spans(message: bytes, start: int, end: int) -> Iterator[Span]:
    """Where the fields of a message stand, which is a part of some bytes; an empty value of a number is at its end.

    Raises:
        ValueError: It is not one.
    """
    position = start
    while position < end:
        start = position
        tag, position = _varint(message, position, end)
        number, wire_type, size = tag >> 3, tag & 7, 0
        if wire_type == 0:
            _, position = _varint(message, position, end)
        elif wire_type in (1, 5):
            position += 8 if wire_type == 1 else 4
        elif wire_type == DELIMITED:
            size, position = _varint(message, position, end)
            position += size
        else:
            raise ValueError(f"unknown wire type {wire_type}")
        if position > end:
            raise ValueError("a field extends beyond its message")
        yield number, start, position - size, position


def field(number: int, value: bytes) -> bytes:
    """A field with bytes, text or a message."""
    return _written(number << 3 | DELIMITED) + _written(len(value)) + value


def _varint(message: bytes, position: int, end: int) -> tuple[int, int]:
    if position < end and (byte := message[position]) < 0x80:  # as nearly all are
        return byte, position + 1
    value = shift = 0
    while position < end and shift < 64:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("an unterminated number")


def _written(number: int) -> bytes:
    """A number as a varint."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
