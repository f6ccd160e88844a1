"""The files that an ONNX graph references, found without onnx and before ONNX Runtime opens any of them."""

from collections.abc import Iterator

from heed.models.runtime.protobuf import spans

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
        return set(_locations(model, 0, len(model), "model"))
    except RecursionError:
        raise ValueError("graphs are nested too deeply") from None


def _locations(model: bytes, start: int, end: int, kind: str) -> Iterator[str]:
    """The names in a message of a kind that stands from `start` to `end`."""
    if kind == "entry":
        texts = {number: model[value:last].decode("utf-8") for number, _, value, last in spans(model, start, end)}
        if texts.get(_KEY) == "location":
            yield texts.get(_VALUE, "")
        return
    children = _CHILDREN[kind]
    for number, _, value, last in spans(model, start, end):
        # Nearly all that have no such word are nodes, by the hundred.
        if number in children and model.find(b"location", value, last) >= 0:
            yield from _locations(model, value, last, children[number])
