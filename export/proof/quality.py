"""Translation quality on a test set, before and after export."""

import sacrebleu

from heed.models.bundle.manifest import Quality
from heed.models.decoding.config import DecodeConfig
from heed.models.runtime.protocol import Network
from heed.models.tasks.translation.translator import Translator
from heed.models.text.scripts import bleu_tokenizer
from heed.models.tokenizers.protocol import LineTokenizer
from heed.transformer.data.text.parallel_text import ParallelText


def measure(
    name: str,
    text: ParallelText,
    tokenizers: tuple[LineTokenizer, LineTokenizer],
    sides: dict[str, Network],
    config: DecodeConfig,
) -> Quality:
    """BLEU and chrF "after" the export, and BLEU "before" it and with the whole vocabulary.

    Args:
        name: Name of the test set.
        text: Pairs of the test set.
        tokenizers: Source and target.
        sides: Networks: "before", "after", and "whole", where that is another one than "after".
        config: Search settings.
    """
    bleu, chrf = sacrebleu.BLEU(tokenize=bleu_tokenizer(text.tgt)), sacrebleu.CHRF()
    texts = {
        side: [found.text for found in Translator(network, *tokenizers).translate(text.src, config)]
        for side, network in sides.items()
    }
    return Quality(
        test_set=name,
        sentences=len(text),
        beam_size=config.beam_size,
        bleu=round(bleu.corpus_score(texts["after"], [text.tgt]).score, 2),
        chrf=round(chrf.corpus_score(texts["after"], [text.tgt]).score, 2),
        bleu_torch=round(bleu.corpus_score(texts["before"], [text.tgt]).score, 2),
        bleu_whole=round(bleu.corpus_score(texts["whole"], [text.tgt]).score, 2) if "whole" in texts else None,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )
