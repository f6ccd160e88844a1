"""Names and shapes of a network's parameters, for checkpoints, graphs and importers."""

from collections.abc import Iterator

from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned, PositionSpec, RelativeBuckets, RelativeSinusoids
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

Shape = tuple[int, ...]


def parameters(spec: NetworkSpec) -> dict[str, Shape]:
    """The shape of every parameter, by name; tied matrices appear once.

    Matrices have PyTorch's layout, (outputs, inputs).
    """
    found: dict[str, Shape] = {}
    for name, stack in spec.stacks.items():
        found[f"{spec.embedding_of(name)}.weight"] = (stack.vocab_size, spec.d_model)
        found |= {f"{name}.{part}": shape for part, shape in _stack(spec, name, stack)}
    if spec.output_transform is not None:
        D = spec.d_model
        found |= {"output_transform.dense.weight": (D, D), "output_transform.dense.bias": (D,)}
        found |= dict(_norm("output_transform.norm", spec.last.norm, D))
    if not spec.tied_output:
        found["projection.weight"] = (spec.last.vocab_size, spec.d_model)
    if spec.output_bias:
        found["projection.bias"] = (spec.last.vocab_size,)
    return found


def _stack(spec: NetworkSpec, name: str, stack: StackSpec) -> Iterator[tuple[str, Shape]]:
    positions, norm, D = stack.positions, stack.norm, spec.d_model
    if isinstance(positions, Learned):
        yield "positions.weight", (positions.n_positions + positions.offset, D)
    if isinstance(positions, RelativeBuckets):
        yield "relative_bias.weight", (positions.n_buckets, stack.attention.n_heads)
    if norm.embedding:
        yield from _norm("embedding_norm", norm, D)
    crosses = name == "decoder" and spec.encoder is not None
    for number in range(stack.n_layers):
        layer = f"layers.{number}"
        if stack.recurrence is None:
            yield from _attention(f"{layer}.self_attention", stack.attention, D)
            yield from _relative(f"{layer}.self_attention.relative", positions, stack.attention, D)
        else:
            yield from _recurrence(f"{layer}.recurrence", D)
        yield from _norm(f"{layer}.self_residual.norm", norm, D)
        if crosses:
            yield from _attention(f"{layer}.cross_attention", stack.attention, D)
            yield from _norm(f"{layer}.cross_residual.norm", norm, D)
        yield from _feed_forward(f"{layer}.feed_forward", stack.feed_forward, D)
        yield from _norm(f"{layer}.feed_residual.norm", norm, D)
    if norm.last:
        yield from _norm("norm", norm, D)


def _attention(name: str, spec: AttentionSpec, d_model: int) -> Iterator[tuple[str, Shape]]:
    widths = {"query": spec.d_heads, "key": spec.d_kv_heads, "value": spec.d_kv_heads}
    for part, width in widths.items():
        yield f"{name}.{part}.weight", (width, d_model)
        if spec.biases:
            yield f"{name}.{part}.bias", (width,)
    yield f"{name}.output.weight", (d_model, spec.d_heads)
    if spec.output_bias:
        yield f"{name}.output.bias", (d_model,)
    if spec.qk_norm:
        yield f"{name}.query_norm.weight", (spec.d_head,)
        yield f"{name}.key_norm.weight", (spec.d_head,)


def _recurrence(name: str, d_model: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.candidate.weight", (d_model, d_model)
    yield f"{name}.forget.weight", (d_model, d_model)
    yield f"{name}.forget.bias", (d_model,)


def _relative(name: str, positions: PositionSpec, spec: AttentionSpec, d_model: int) -> Iterator[tuple[str, Shape]]:
    if isinstance(positions, RelativeSinusoids):
        yield f"{name}.distance.weight", (spec.d_heads, d_model)
        parts = ("content_bias", "distance_bias", "segment_bias", "segment")
        yield from ((f"{name}.{part}", (spec.d_heads,)) for part in parts[: 4 if positions.last_apart else 2])


def _feed_forward(name: str, spec: FeedForwardSpec, d_model: int) -> Iterator[tuple[str, Shape]]:
    for part in ("gate", "inner") if spec.gated else ("inner",):
        yield f"{name}.{part}.weight", (spec.d_ff, d_model)
        if spec.biases:
            yield f"{name}.{part}.bias", (spec.d_ff,)
    yield f"{name}.outer.weight", (d_model, spec.d_ff)
    if spec.biases:
        yield f"{name}.outer.bias", (d_model,)


def _norm(name: str, spec: NormSpec, d_model: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (d_model,)
    if spec.kind == "layer" and spec.bias:
        yield f"{name}.bias", (d_model,)
