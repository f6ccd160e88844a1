"""From what was asked to what a trainer needs: text read, tokenizers learnt, pairs in batches."""

from collections.abc import Mapping
from pathlib import Path

from heed.models.config import ModelConfig, defaults, from_table
from heed.models.errors import DataError
from heed.models.tokenizer import Tokenizer
from heed.transformer.batches import Batches
from heed.transformer.config import TranslationConfig
from heed.transformer.corpus import Corpus, ParallelText, read_pairs, tokenize
from heed.transformer.initial import Initial
from heed.transformer.run import TranslationRun
from heed.transformer.shortlist import ALWAYS, Shortlist, learn_shortlist
from heed.transformer.subwords import train_tokenizer

HELD_OUT = 1000  # pairs for validation where none are given, and
HELD_OUT_SHARE = 0.05  # at most this share of them


def read_text(config: TranslationConfig) -> tuple[ParallelText, ParallelText]:
    """The training and the validation pairs; the same ones every time.

    Raises:
        DataError: The files cannot be used as parallel text.
        OSError: A file cannot be read.
    """
    text = read_pairs(config.src, config.tgt)
    if config.valid_src:
        return text, read_pairs(config.valid_src, config.valid_tgt)
    training, validation = text.hold_out(max(1, min(HELD_OUT, int(len(text) * HELD_OUT_SHARE))), config.seed)
    if not len(training):
        raise DataError(
            f"{config.src[0]}: {len(text)} pairs are too few to hold some out; give --valid-src and --valid-tgt"
        )
    return training, validation


def tokenizers(text: ParallelText, config: TranslationConfig) -> tuple[Tokenizer, Tokenizer]:
    """The source's and the target's tokenizer, given or learnt from the training text.

    Raises:
        DataError: The text is too small for the vocabulary asked for.
        ModelError: A given tokenizer cannot be used.
    """
    if config.tokenizer:
        given = [Tokenizer.load(Path(path)) for path in config.tokenizer]
        return given[0], given[-1]
    if config.joint:
        name = f"{config.src[0]} and {config.tgt[0]}"
        both = train_tokenizer([*text.src, *text.tgt], vocab_size=config.vocab_size, name=name)
        return both, both
    src, tgt = (
        train_tokenizer(lines, vocab_size=config.vocab_size, name=paths[0])
        for lines, paths in ((text.src, config.src), (text.tgt, config.tgt))
    )
    return src, tgt


def new_run(
    path: Path, network: Mapping[str, object], config: TranslationConfig, initial: Initial | None = None
) -> tuple[TranslationRun, Corpus]:
    """Make a run: read the text, learn the vocabulary, settle the network's size.

    Args:
        path: The run's directory.
        network: The fields of its `ModelConfig` but for the vocabulary, which the tokenizers decide.
        config: What was asked.
        initial: The network to begin with; None: a fresh one.

    Raises:
        HeedError: Something asked for cannot be; nothing has been written.
    """
    training, validation = read_text(config)
    src, tgt = tokenizers(training, config)
    tied = bool(network.get("tied_embeddings", True)) and src.model == tgt.model
    sizes = {"src_vocab_size": len(src), "tgt_vocab_size": len(tgt), "tied_embeddings": tied}
    model = from_table(ModelConfig, {**defaults(ModelConfig), **network, **sizes}, "the network asked for")
    corpus = _corpus(training, (src, tgt), config, config.src[0])
    _corpus(validation, (src, tgt), config, (config.valid_src or config.src)[0])
    learnt = shortlist(corpus, src, tgt)
    if learnt and initial and initial.shortlist:
        learnt = learnt.joined(initial.shortlist)  # the new text may lack most words that the old one had
    weights = initial.weights if initial else None
    return TranslationRun.create(path, model, config, (src, tgt), validation, learnt, weights), corpus


def shortlist(corpus: Corpus, src: Tokenizer, tgt: Tokenizer) -> Shortlist | None:
    """Which target tokens a source needs, learnt from the pairs; None where the vocabulary is so small already."""
    if len(tgt) <= 2 * ALWAYS:
        return None
    return learn_shortlist(corpus, len(src), len(tgt), tgt.eos_id, joint=src.model == tgt.model)


def load_corpus(run: TranslationRun) -> Corpus:
    """The training pairs of a run that goes on."""
    training, _ = read_text(run.train)
    return _corpus(training, (run.src_tokenizer, run.tgt_tokenizer), run.train, run.train.src[0])


def batches(run: TranslationRun, corpus: Corpus) -> Batches:
    """The batches of a run."""
    return Batches(corpus, run.src_tokenizer, run.tgt_tokenizer, batch_tokens=run.train.batch_tokens)


def _corpus(
    text: ParallelText, tokenizers: tuple[Tokenizer, Tokenizer], config: TranslationConfig, name: str
) -> Corpus:
    corpus = tokenize(text, *tokenizers, max_length=config.max_length)
    if not len(corpus):
        raise DataError(
            f"{name}: no pair is left: {corpus.n_empty} are empty on a side, "
            f"{corpus.n_long} longer than --max-length {config.max_length} tokens"
        )
    return corpus
