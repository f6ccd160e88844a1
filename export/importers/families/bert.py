"""BERT and encoders like it: RoBERTa, XLM-RoBERTa, DistilBERT (Devlin et al., 2018, arXiv 1810.04805)."""

import dataclasses
import re
from collections.abc import Mapping
from functools import partial

from heed.export.importers.families.bart import ACTIVATIONS
from heed.export.importers.families.family import Family
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import StoredTensor, Tensors
from heed.export.importers.tokenizers.reading import byte_level, sentencepiece, word_pieces
from heed.export.importers.weights import TensorSource, apart
from heed.models.arrays import FloatArray
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

WORDS, PLACES = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"
BERT_PARTS = {  # of a layer
    "self_attention.query": "attention.self.query",
    "self_attention.key": "attention.self.key",
    "self_attention.value": "attention.self.value",
    "self_attention.output": "attention.output.dense",
    "self_residual.norm": "attention.output.LayerNorm",
    "feed_forward.inner": "intermediate.dense",
    "feed_forward.outer": "output.dense",
    "feed_residual.norm": "output.LayerNorm",
}
DISTILBERT_PARTS = {  # of a layer
    "self_attention.query": "attention.q_lin",
    "self_attention.key": "attention.k_lin",
    "self_attention.value": "attention.v_lin",
    "self_attention.output": "attention.out_lin",
    "self_residual.norm": "sa_layer_norm",
    "feed_forward.inner": "ffn.lin1",
    "feed_forward.outer": "ffn.lin2",
    "feed_residual.norm": "output_layer_norm",
}
# Names of the layers that predict masked tokens: the dense layer, the norm, the output matrix and its bias.
BERT_HEAD = (
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.decoder.weight",
    "cls.predictions.bias",
)
ROBERTA_HEAD = ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder.weight", "lm_head.bias")
DISTILBERT_HEAD = ("vocab_transform", "vocab_layer_norm", "vocab_projector.weight", "vocab_projector.bias")
# Layers for other uses, such as the classifier of pairs in pre-training, and what old files hold beside weights.
HARMLESS = r"pooler\..*|cls\.seq_relationship\..*|embeddings\.(position_ids|token_type_ids)"
UNUSED = {
    *("attention_probs_dropout_prob", "hidden_dropout_prob", "qa_dropout", "seq_classif_dropout", "position_ids"),
    *("sinusoidal_pos_embds", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
    *("pooler_size_per_head", "pooler_type", "directionality"),
}
Head = tuple[str, str, str, str]


def network(settings: Settings, tensors: Tensors, *, head: Head) -> NetworkSpec:
    """The configuration of BERT or RoBERTa as heed's.

    Args:
        settings: The configuration.
        tensors: Of the checkpoint.
        head: Names of the layers that predict.
    """
    settings.only("position_embedding_type", "absolute")
    settings.only("is_decoder", False)
    settings.only("add_cross_attention", False)
    settings.only("embedding_size", settings.integer("hidden_size", 768))  # ELECTRA's may differ
    settings.integer("type_vocab_size", 2)  # every text is the first segment
    activation, is_bert = settings.choice("hidden_act", ACTIVATIONS, "gelu"), head is BERT_HEAD
    spec = _encoder(
        settings,
        tensors,
        names=("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
        norm=NormSpec(eps=settings.number("layer_norm_eps", 1e-12), embedding=True),
        activation=activation,
        head=head,
        transform=activation if is_bert else "gelu",
        offset=0 if is_bert else settings.integer("pad_token_id", 1) + 1,
    )
    settings.refuse_unread(UNUSED)
    return spec


def distilbert(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """DistilBERT's configuration as heed's (Sanh et al., 2019, arXiv 1910.01108)."""
    activation = settings.choice("activation", ACTIVATIONS, "gelu")
    spec = _encoder(
        settings,
        tensors,
        names=("dim", "n_layers", "n_heads", "hidden_dim"),
        norm=NormSpec(eps=1e-12, embedding=True),
        activation=activation,
        head=DISTILBERT_HEAD,
        transform=activation,
        offset=0,
    )
    settings.refuse_unread(UNUSED | {"tie_weights_"})
    return spec


def _encoder(
    settings: Settings,
    tensors: Tensors,
    *,
    names: tuple[str, str, str, str],
    norm: NormSpec,
    activation: str,
    head: Head,
    transform: str,
    offset: int,
) -> NetworkSpec:
    """An encoder, given the configuration's names of its sizes."""
    width, layers, heads, inner = names
    d_model, n_heads = settings.integer(width, 768), settings.integer(heads, 12)
    if n_heads < 1 or d_model % n_heads:
        raise settings.wrong(heads, f"a divisor of {width} {d_model}")
    settings.flag("tie_word_embeddings", True)  # the file decides
    attention = AttentionSpec(
        n_heads=n_heads, n_kv_heads=n_heads, d_head=d_model // n_heads, biases=True, output_bias=True
    )
    encoder = StackSpec(
        vocab_size=settings.integer("vocab_size", 30522),
        n_layers=settings.integer(layers, 12),
        attention=attention,
        feed_forward=FeedForwardSpec(d_ff=settings.integer(inner, 3072), activation=activation),
        norm=norm,
        positions=Learned(n_positions=settings.integer("max_position_embeddings", 512) - offset, offset=offset),
    )
    dense, _, matrix, bias = head
    return NetworkSpec(
        d_model=d_model,
        encoder=encoder,
        decoder=None,
        scale_embedding=False,
        tied_output=not apart(tensors, matrix, WORDS),
        output_bias=bias in tensors,
        output_transform=transform if f"{dense}.weight" in tensors else None,
    )


def origin(
    parameter: str,
    spec: NetworkSpec,  # noqa: ARG001 - every form has the same names
    *,
    layers: str,
    parts: Mapping[str, str],
    head: Head,
    segments: bool,
) -> TensorSource:
    """Where a parameter is in a checkpoint.

    Args:
        parameter: Its name.
        spec: The network.
        layers: Name of the layers.
        parts: Names of the parts of a layer.
        head: Names of the layers that predict.
        segments: Whether there is a table of segments, whose first row is added to every position.
    """
    dense, norm, matrix, bias = head
    if found := re.fullmatch(r"encoder\.layers\.(\d+)\.(\w+\.\w+)\.(weight|bias)", parameter):
        number, part, kind = found.groups()
        return TensorSource(f"{layers}.{number}.{parts[part]}.{kind}")
    if parameter == "encoder.positions.weight" and segments:
        return TensorSource(PLACES, _with_first_segment, (SEGMENTS,))
    whole = {
        "src_embedding.weight": WORDS,
        "encoder.positions.weight": PLACES,
        "projection.weight": matrix,
        "projection.bias": bias,
    }
    if parameter in whole:
        return TensorSource(whole[parameter])
    name, _, kind = parameter.rpartition(".")
    named = {
        "encoder.embedding_norm": "embeddings.LayerNorm",
        "output_transform.dense": dense,
        "output_transform.norm": norm,
    }
    return TensorSource(f"{named[name]}.{kind}")


def _with_first_segment(positions: FloatArray, segments: FloatArray) -> FloatArray:
    return positions + segments[0]


def normal(tensors: Tensors, prefix: str) -> dict[str, StoredTensor]:
    """Tensors by their names without the network's, and by the newer names of norms."""
    found = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        short = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", short)
        found[re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", short)] = tensor
    return found


def copies(spec: NetworkSpec, head: Head) -> dict[str, str]:
    """Tensors that may be there twice."""
    *_, matrix, bias = head
    tied = {matrix: WORDS} if spec.tied_output else {}
    return tied | {matrix.replace(".weight", ".bias"): bias}


BERT = Family(
    vocabulary=word_pieces,
    network=partial(network, head=BERT_HEAD),
    origin=partial(origin, layers="encoder.layer", parts=BERT_PARTS, head=BERT_HEAD, segments=True),
    normal=partial(normal, prefix="bert."),
    copies=partial(copies, head=BERT_HEAD),
    harmless=HARMLESS,
)
ROBERTA = Family(
    vocabulary=byte_level,
    network=partial(network, head=ROBERTA_HEAD),
    origin=partial(origin, layers="encoder.layer", parts=BERT_PARTS, head=ROBERTA_HEAD, segments=True),
    normal=partial(normal, prefix="roberta."),
    copies=partial(copies, head=ROBERTA_HEAD),
    harmless=HARMLESS,
)
XLM_ROBERTA = dataclasses.replace(ROBERTA, vocabulary=sentencepiece)
DISTILBERT = Family(
    vocabulary=word_pieces,
    network=distilbert,
    origin=partial(origin, layers="transformer.layer", parts=DISTILBERT_PARTS, head=DISTILBERT_HEAD, segments=False),
    normal=partial(normal, prefix="distilbert."),
    copies=partial(copies, head=DISTILBERT_HEAD),
    harmless=HARMLESS,
)
