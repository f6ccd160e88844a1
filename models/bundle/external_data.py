"""The files that an ONNX graph references, found without onnx and before ONNX Runtime opens any of them."""

from collections.abc import Iterator

from heed.models.runtime.protobuf import fields

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
        texts = {number: bytes(value).decode("utf-8") for number, value, _ in fields(message)}
        if texts.get(_KEY) == "location":
            yield texts.get(_VALUE, "")
        return
    children = _CHILDREN[kind]
    for number, value, _ in fields(message):
        if number in children and b"location" in bytes(value):  # nearly all others are nodes, by the hundred
            yield from _locations(value, children[number])
