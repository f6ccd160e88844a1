"""T5, T5 v1.1, Flan-T5 and mT5 (Raffel et al., 2020, arXiv 1910.10683)."""

import dataclasses
import re

from heed.export.importers.families.family import Family
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import (
    Vocabulary,
    ends,
    filled,
    forced,
    mapped_files,
    one_id,
    read_file,
    sentencepiece_pieces,
    suppressed,
)
from heed.export.importers.weights import TensorSource, apart
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import RelativeBuckets
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

FORMS = {  # of the feed-forward network: its activation, and whether it is gated
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gelu_new": ("gelu_tanh", False),
    "silu": ("silu", False),
    "gated-relu": ("relu", True),
    "gated-gelu": ("gelu_tanh", True),  # transformers takes the tanh form for this name
    "gated-silu": ("silu", True),
}
SUBLAYERS = {"self_attention": "0.SelfAttention", "cross_attention": "1.EncDecAttention"}
PROJECTIONS = {"query": "q", "key": "k", "value": "v", "output": "o"}
N_PLACEHOLDERS = 100
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's.

    Whether states are scaled before the output matrix: `scale_decoder_outputs` says so since transformers 5, which
    changed what `tie_word_embeddings` means; before, tied embeddings were scaled. Whether the output matrix is one of
    its own is what the file shows.
    """
    tied = settings.flag("tie_word_embeddings", True)
    old = tied and settings.raw("model_type") != "mt5"
    scaled = settings.flag("scale_decoder_outputs", old)
    d_model = settings.integer("d_model", 512)
    n_layers = settings.integer("num_layers", 6)
    encoder = _stack(settings, n_layers)
    decoder = dataclasses.replace(encoder, n_layers=settings.integer("num_decoder_layers", n_layers))
    for key in ("is_gated_act", "dense_act_fn"):  # which transformers derives from feed_forward_proj
        settings.raw(key)
    settings.only("is_decoder", False)
    settings.refuse_unread({"n_positions", "output_past"})
    return NetworkSpec(
        d_model=d_model,
        encoder=encoder,
        decoder=decoder,
        scale_embedding=False,
        tied_output=not apart(tensors, "lm_head.weight", embedding(tensors)),
        output_scale=d_model**-0.5 if scaled else None,
    )


def _stack(settings: Settings, n_layers: int) -> StackSpec:
    form = settings.raw("feed_forward_proj") or "relu"
    if not isinstance(form, str) or form not in FORMS:
        raise settings.wrong("feed_forward_proj", " or ".join(map(repr, FORMS)))
    activation, gated = FORMS[form]
    n_heads = settings.integer("num_heads", 8)
    return StackSpec(
        vocab_size=settings.integer("vocab_size", 32128),
        n_layers=n_layers,
        attention=AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, d_head=settings.integer("d_kv", 64), scale=1.0),
        feed_forward=FeedForwardSpec(
            d_ff=settings.integer("d_ff", 2048), activation=activation, gated=gated, biases=False
        ),
        norm=NormSpec(
            kind="rms", placement="before", eps=settings.number("layer_norm_epsilon", 1e-6), bias=False, last=True
        ),
        positions=RelativeBuckets(
            n_buckets=settings.integer("relative_attention_num_buckets", 32),
            max_distance=settings.integer("relative_attention_max_distance", 128),
        ),
    )


def embedding(tensors: Tensors) -> str:
    """The name of the embedding: some files have it under that of a stack alone, never under that of the output.

    Raises:
        ModelError: The stacks have embeddings of their own.
    """
    found = [name for name in EMBEDDINGS if name in tensors]
    if not found:
        raise ModelError(f"the checkpoint has no tensor {EMBEDDINGS[0]}; get the model again")
    if any(not tensors[found[0]].equals(tensors[name]) for name in found[1:]):
        raise ModelError("encoder and decoder have different embeddings, which no T5 has; get the model again")
    return found[0]


def origin(parameter: str, spec: NetworkSpec) -> TensorSource:
    """Where a parameter is in a checkpoint."""
    if parameter == "src_embedding.weight":
        return TensorSource(EMBEDDINGS[0])
    if parameter == "projection.weight":
        return TensorSource("lm_head.weight")
    stack, rest = parameter.split(".", 1)
    if rest == "relative_bias.weight":
        return TensorSource(f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    if rest == "norm.weight":
        return TensorSource(f"{stack}.final_layer_norm.weight")
    found = re.fullmatch(r"layers\.(\d+)\.(\w+)\.(\w+)\.weight", rest)
    assert found
    number, sublayer, part = found.groups()
    return TensorSource(f"{stack}.block.{number}.layer.{_in_layer(stack, sublayer, part, spec)}.weight")


def _in_layer(stack: str, sublayer: str, part: str, spec: NetworkSpec) -> str:
    last = 1 if stack == "encoder" else 2  # the feed-forward network's place in a layer
    if part == "norm":
        return f"{ {'self_residual': 0, 'cross_residual': 1}.get(sublayer, last) }.layer_norm"
    if sublayer in SUBLAYERS:
        return f"{SUBLAYERS[sublayer]}.{PROJECTIONS[part]}"
    names = {"gate": "wi_0", "inner": "wi_1" if spec.stacks[stack].feed_forward.gated else "wi", "outer": "wo"}
    return f"{last}.DenseReluDense.{names[part]}"


def _normal(tensors: Tensors) -> Tensors:
    """The tensors with the embedding under its usual name."""
    name = embedding(tensors)
    return {EMBEDDINGS[0]: tensors[name], **tensors}


def vocabulary(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """SentencePiece's own ids; 100 placeholders that T5 was first trained with count down from the last one."""
    model = read_file(checkpoint, "spiece.model")
    pieces = sentencepiece_pieces(model, checkpoint)
    n_rows = spec.stacks["decoder"].vocab_size
    room = max(0, min(N_PLACEHOLDERS, n_rows - len(pieces)))
    pieces += [f"<extra_id_{number}>" for number in reversed(range(room))]
    pieces, unused = filled(pieces, n_rows, checkpoint.path / "spiece.model")
    conventions = Conventions(
        tokenizer="mapped",
        start_id=one_id(checkpoint, "decoder_start_token_id", "pad_token_id"),
        ends=ends(checkpoint),
        pad_id=one_id(checkpoint, "pad_token_id"),
        forced=forced(checkpoint),
        suppressed=suppressed(checkpoint, unused),
        prefix=checkpoint.prefix,
    )
    return Vocabulary(conventions, mapped_files([model, model], [pieces, pieces]))


FAMILY = Family(
    vocabulary=vocabulary,
    network=network,
    origin=origin,
    normal=_normal,
    copies=lambda _: dict.fromkeys(("lm_head.weight", *EMBEDDINGS[1:]), EMBEDDINGS[0]),
    harmless=r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)
