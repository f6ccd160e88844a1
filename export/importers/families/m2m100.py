"""M2M100 and NLLB (Fan et al., 2020, arXiv 2010.11125; NLLB Team, 2022, arXiv 2207.04672)."""

import dataclasses
import re

from heed.export.importers.families import bart
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import (
    Vocabulary,
    added_tokens,
    ends,
    filled,
    has,
    mapped_files,
    one_id,
    pieces_of,
    read_file,
    shifted,
    suppressed,
    with_added,
)
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Sinusoidal
from heed.models.spec.stack import NormSpec


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's."""
    settings.only("normalize_before", True)
    settings.only("normalize_embedding", False)
    settings.only("add_final_layer_norm", True)
    settings.raw("max_position_embeddings")  # of a table of sinusoids, which heed makes as long as it needs
    norm = NormSpec(placement="before", last=True)
    positions = Sinusoidal(layout="halves", spacing="tensor2tensor", offset=2)
    return bart.translator(
        settings, tensors, norm, positions, scale_embedding=True, vocab_size=128112, activation="relu"
    )


# Those of M2M100, in the order of their ids, which follow those of the pieces.
LANGUAGES = """
    af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu
    hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt
    ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
""".split()  # noqa: SIM905
NLLB_LANGUAGE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


def vocabulary(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """One SentencePiece model; sources begin with their language, and outputs are forced to begin with theirs."""
    n_rows = spec.stacks["decoder"].vocab_size
    pieces, languages = _m2m100(checkpoint) if has(checkpoint, "vocab.json") else _nllb(checkpoint)
    pieces, unused = filled(pieces, n_rows, checkpoint.path)
    conventions = Conventions(
        tokenizer="mapped",
        start_id=one_id(checkpoint, "decoder_start_token_id", "eos_token_id"),
        ends=ends(checkpoint),
        pad_id=one_id(checkpoint, "pad_token_id"),
        suppressed=suppressed(checkpoint, unused),
        languages=languages,
        source_tag="source",
        output_tag=True,
    )
    model = read_file(checkpoint, "sentencepiece.bpe.model")
    return Vocabulary(conventions, mapped_files([model, model], [pieces, pieces]))


def _m2m100(checkpoint: Checkpoint) -> tuple[list[str], dict[str, int]]:
    """Pieces by vocab.json, and behind them the languages."""
    pieces = pieces_of(checkpoint.path / "vocab.json")
    languages = {name: len(pieces) + number for number, name in enumerate(LANGUAGES)}
    return pieces + [f"__{name}__" for name in LANGUAGES], languages


def _nllb(checkpoint: Checkpoint) -> tuple[list[str], dict[str, int]]:
    """Pieces by the order of the SentencePiece model, shifted by one; languages where tokenizer.json has them."""
    pieces = shifted(read_file(checkpoint, "sentencepiece.bpe.model"), checkpoint)
    added = added_tokens(checkpoint)
    languages = {token: number for token, number in added.items() if NLLB_LANGUAGE.fullmatch(token)}
    if not languages:
        raise ModelError(f"{checkpoint.path}: no file names the tokens of languages; get its tokenizer.json, too")
    return with_added(pieces, added, checkpoint), languages


FAMILY = dataclasses.replace(
    bart.FAMILY, network=network, vocabulary=vocabulary, harmless=r"model\.(encoder|decoder)\.embed_positions\.weights"
)
