"""mBART and mBART-50 (Liu et al., 2020, arXiv 2001.08210; Tang et al., 2020, arXiv 2008.00401)."""

import dataclasses

from heed.export.importers.families import bart
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import (
    Vocabulary,
    ends,
    mapped_files,
    one_id,
    read_file,
    shifted,
    suppressed,
)
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned
from heed.models.spec.stack import NormSpec


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """Its configuration as heed's."""
    for key in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        settings.only(key, True)
    norm = NormSpec(placement="before", last=True, embedding=True)
    positions = Learned(n_positions=settings.integer("max_position_embeddings", 1024), offset=2)
    return bart.translator(settings, tensors, norm, positions, scale_embedding=False, vocab_size=50265)


# Those of mBART-50, in the order of their ids, which follow those of the pieces.
LANGUAGES = """
    ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP
    nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN
    mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI
""".split()  # noqa: SIM905


def vocabulary(checkpoint: Checkpoint, spec: NetworkSpec) -> Vocabulary:
    """mBART-50's: a source begins with its language, and an output is forced to begin with its own.

    Raises:
        ModelError: It is the older mBART, whose languages stand at the end.
    """
    model = read_file(checkpoint, "sentencepiece.bpe.model")
    pieces = shifted(model, checkpoint)
    languages = {name: len(pieces) + number for number, name in enumerate(LANGUAGES)}
    pieces = [*pieces, *LANGUAGES, "<mask>"]
    n_rows = spec.stacks["decoder"].vocab_size
    if len(pieces) != n_rows:
        raise ModelError(
            f"{checkpoint.path}: {n_rows:,} tokens, where mBART-50 has {len(pieces):,}; heed imports mBART-50 alone"
        )
    conventions = Conventions(
        tokenizer="mapped",
        start_id=one_id(checkpoint, "decoder_start_token_id", "eos_token_id"),
        ends=ends(checkpoint),
        pad_id=one_id(checkpoint, "pad_token_id"),
        suppressed=suppressed(checkpoint),
        languages=languages,
        source_tag="source",
        output_tag=True,
    )
    return Vocabulary(conventions, mapped_files([model, model], [pieces, pieces]))


FAMILY = dataclasses.replace(bart.FAMILY, network=network, vocabulary=vocabulary)
