"""Marian, as OPUS-MT publishes it (Junczys-Dowmunt et al., 2018, arXiv 1804.00344)."""

import dataclasses
import re

from heed.export.importers.families import bart
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
    pieces_of,
    read_file,
    suppressed,
)
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Sinusoidal
from heed.models.spec.stack import NormSpec


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's. Where the vocabularies are two, the output is the target's embedding."""
    for key in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        settings.only(key, False)
    settings.raw("max_position_embeddings")  # of a table of sinusoids, which heed makes as long as it needs
    shared = settings.flag("share_encoder_decoder_embeddings", True)
    n_target = settings.integer("decoder_vocab_size", settings.integer("vocab_size", 58101))
    halves = Sinusoidal(layout="halves")
    spec = bart.translator(settings, tensors, NormSpec(), halves, scale_embedding=False, vocab_size=58101)
    if shared:
        settings.only("decoder_vocab_size", spec.stacks["encoder"].vocab_size)
        return spec
    decoder = dataclasses.replace(spec.stacks["decoder"], vocab_size=n_target)
    return dataclasses.replace(spec, decoder=decoder, shared_embedding=False)


def copies(spec: NetworkSpec) -> dict[str, str]:
    """Tensors that may be there twice."""
    return bart.COPIES if spec.shared_embedding else {"lm_head.weight": "model.decoder.embed_tokens.weight"}


def vocabulary(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """A SentencePiece model a side, whose pieces have their ids in vocab.json; `>>deu<<` names a target language."""
    models = [read_file(checkpoint, "source.spm"), read_file(checkpoint, "target.spm")]
    names = ["vocab.json", "vocab.json" if spec.shared_embedding else "target_vocab.json"]
    lists = [pieces_of(checkpoint.path / name) for name in names]
    sizes = [stack.vocab_size for stack in spec.stacks.values()]
    (source, _), (target, unused) = (
        filled(pieces, size, checkpoint.path / name) for pieces, size, name in zip(lists, sizes, names, strict=True)
    )
    tags = {piece[2:-2]: number for number, piece in enumerate(source) if re.fullmatch(r">>.+<<", piece)}
    pad_id = one_id(checkpoint, "pad_token_id")
    conventions = Conventions(
        tokenizer="mapped",
        start_id=one_id(checkpoint, "decoder_start_token_id", "pad_token_id"),
        ends=ends(checkpoint),
        pad_id=pad_id,
        forced=forced(checkpoint),
        suppressed=suppressed(checkpoint, [pad_id, *unused]),
        languages=tags or None,
        source_tag="target" if tags else None,
    )
    return Vocabulary(conventions, mapped_files(models, [source, target]))


FAMILY = dataclasses.replace(
    bart.FAMILY,
    network=network,
    vocabulary=vocabulary,
    copies=copies,
    harmless=r"model\.(encoder|decoder)\.embed_positions\.weight",
)
