"""A part of an ONNX graph as a graph of its own: the nodes that some values depend on, with the same weights.

A bundle's graphs compute attention weights and do not put them out. The part that ends in them runs in ONNX Runtime as
the bundle does: the same operators, the same file of weights, in every precision.
"""

from typing import NamedTuple

from heed.models.runtime.protobuf import field, fields

# Numbers of fields in onnx.proto.
GRAPH = 7  # of a ModelProto
NODE, INPUT, OUTPUT = 1, 11, 12  # of a GraphProto
NODE_INPUT, NODE_OUTPUT, OPERATOR = 1, 2, 4  # of a NodeProto
NAME = 1  # of a ValueInfoProto


class Node(NamedTuple):
    """A node of a graph."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    whole: memoryview  # its field


def nodes(model: bytes) -> list[Node]:
    """The nodes of a serialized ModelProto, in order of computation.

    Raises:
        ValueError: The bytes are not such a message.
    """
    return [_node(value, whole) for number, value, whole in fields(_graph(model)) if number == NODE]


def subgraph(model: bytes, outputs: list[str]) -> bytes:
    """The model that computes these values of a model's graph, and takes only the inputs that they depend on.

    Raises:
        ValueError: The bytes are not a serialized ModelProto.
    """
    needed, kept = set(outputs), list[bytes | memoryview]()
    for node in reversed(nodes(model)):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node.whole)
    parts = kept[::-1]
    for number, value, whole in fields(_graph(model)):
        if number not in (NODE, INPUT, OUTPUT) or (number == INPUT and _text(value, NAME) in needed):
            parts.append(whole)
    parts += [field(OUTPUT, field(NAME, name.encode())) for name in outputs]
    others = [whole for number, _, whole in fields(memoryview(model)) if number != GRAPH]
    return b"".join([*others, field(GRAPH, b"".join(parts))])


def _graph(model: bytes) -> memoryview:
    found = [value for number, value, _ in fields(memoryview(model)) if number == GRAPH]
    if len(found) != 1:
        raise ValueError("not a model with a graph")
    return found[0]


def _node(message: memoryview, whole: memoryview) -> Node:
    texts: dict[int, list[str]] = {NODE_INPUT: [], NODE_OUTPUT: [], OPERATOR: []}
    for number, value, _ in fields(message):
        if number in texts:
            texts[number].append(bytes(value).decode())
    return Node("".join(texts[OPERATOR]), texts[NODE_INPUT], texts[NODE_OUTPUT], whole)


def _text(message: memoryview, wanted: int) -> str:
    return "".join(bytes(value).decode() for number, value, _ in fields(message) if number == wanted)
