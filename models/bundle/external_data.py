"""The files that an ONNX graph references, found without onnx and before ONNX Runtime opens any of them."""

from collections.abc import Iterator

# The fields of onnx.proto that lead to tensors: message, field number → message.
_CHILDREN = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # fields of an entry: StringStringEntryProto


def external_files(model: bytes) -> set[str]:
    """The names of the files in which a serialized ModelProto keeps tensors.

    Raises:
        ValueError: The bytes are not such a message.
    """
    try:
        return set(_locations(memoryview(model), "model"))
    except RecursionError:
        raise ValueError("graphs are nested too deeply") from None


def _locations(message: memoryview, kind: str) -> Iterator[str]:
    if kind == "entry":
        texts = {number: bytes(value).decode("utf-8") for number, value in _fields(message)}
        if texts.get(_KEY) == "location":
            yield texts.get(_VALUE, "")
        return
    children = _CHILDREN[kind]
    for number, value in _fields(message):
        if number in children:
            yield from _locations(value, children[number])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a protobuf message with bytes, text or messages; others are skipped."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            _, position = _varint(message, position)
        elif wire_type in (1, 5):
            position += 8 if wire_type == 1 else 4
        elif wire_type == 2:
            size, position = _varint(message, position)
            if position + size > len(message):
                raise ValueError("a field extends beyond its message")
            yield number, message[position : position + size]
            position += size
        else:
            raise ValueError(f"unknown wire type {wire_type}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("an unterminated number")
