"""From what was asked to what a trainer needs: text read, tokenizers learnt, pairs in batches."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.models.spec.config import ModelConfig, defaults, from_table
from heed.models.system.files import sha256
from heed.models.system.processor import available_cores
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers, write_tokenizers
from heed.transformer.data.augmentation.augmentation import Augmentation
from heed.transformer.data.batching.batches import Batches
from heed.transformer.data.batching.token_cache import TextFile, TextRecord, key_of, make_entry, read_files, workplace
from heed.transformer.data.batching.tokens import Corpora, Making, open_corpora, write_corpora
from heed.transformer.data.batching.variation import Variation
from heed.transformer.data.corpus_scan import sample, survey
from heed.transformer.data.duplicates import mark_duplicates
from heed.transformer.data.parallel_text import (
    Filter,
    ParallelText,
    read_pairs,
    read_validation,
    tokenize,
    write_validation,
)
from heed.transformer.data.reservoir import fingerprint
from heed.transformer.data.shortlist import ALWAYS, Shortlist, learn_shortlist
from heed.transformer.data.sources import Pair, Source, match_files, parse_source
from heed.transformer.data.vocabulary import train_tokenizer
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig
from heed.transformer.training.runs.warm_start import Initial

FLAWS = {"duplicate": "deduplicate", "unequal": "max_ratio"}  # why pairs are left out only if it was asked


def new_run(
    path: Path,
    network: Mapping[str, object],
    config: TranslationConfig,
    initial: Initial | None = None,
    *,
    cache: Path | None = None,
    threads: int | None = None,
) -> tuple[TranslationRun, Corpora]:
    """Make a run: learn the vocabulary, settle the network's size, turn the text into tokens.

    Args:
        path: The run's directory.
        network: The fields of its `ModelConfig` but for the vocabulary, which the tokenizers decide.
        config: What was asked.
        initial: The network to begin with; None: a fresh one.
        cache: Where to keep tokens and vocabularies, and to look for them; None: in the run.
        threads: Of the processor; None: all.

    Raises:
        HeedError: Something asked for cannot be; nothing has been written but to the cache.
    """
    sources = sources_of(config)
    files = read_files(_paths(config))
    with workplace(path, cache) as place:
        look = place / _look_key(files, config)
        make_entry(look, lambda aside: _look(aside, sources, config))
        src, tgt = load_tokenizers(look)
        validation = read_pairs(config.valid_src, config.valid_tgt) if config.valid_src else read_validation(look)
        model = sized(network, len(src), len(tgt), joint=src.model == tgt.model)
        _require_validation(validation, (src, tgt), config)
        record = TextRecord(
            files, _tokens_key(files, (src, tgt), validation, config), str(cache.absolute()) if cache else None
        )
        _make_tokens(place / record.key, (src, tgt), validation, config, threads)
        learnt = _shortlist(place, record.key, src, tgt)
        if learnt and initial and initial.shortlist:
            learnt = learnt.joined(initial.shortlist)  # the new text may lack most words that the old one had
        weights = initial.weights if initial else None
        run = TranslationRun.create(
            path, model, config, (src, tgt), validation, learnt, weights, text=record, cache=None if cache else place
        )
    return run, open_corpora(record.entry(path))


def sized(network: Mapping[str, object], src_size: int, tgt_size: int, *, joint: bool) -> ModelConfig:
    """The network that was asked for, with vocabularies of these sizes, which may be one.

    Raises:
        ModelError: It cannot be.
    """
    tied = bool(network.get("tied_embeddings", True)) and joint
    sizes = {"src_vocab_size": src_size, "tgt_vocab_size": tgt_size, "tied_embeddings": tied}
    return from_table(ModelConfig, {**defaults(ModelConfig), **network, **sizes}, "the network asked for")


def load_corpus(run: TranslationRun, threads: int | None = None) -> Corpora:
    """The training pairs of a run that goes on; tokens that are gone are made again.

    Raises:
        DataError: The text has changed, or is gone as its tokens are.
    """
    tokenizers = run.src_tokenizer, run.tgt_tokenizer
    record = TextRecord.of_run(
        run.path, _paths(run.train), lambda files: _tokens_key(files, tokenizers, run.validation, run.train)
    )
    entry = record.require(run.path)
    _make_tokens(entry, tokenizers, run.validation, run.train, threads)
    return open_corpora(entry)


def batches(run: TranslationRun, corpora: Corpora) -> Batches:
    """The batches of a run."""
    train, tokenizers = run.train, (run.src_tokenizer, run.tgt_tokenizer)
    shown = ["empty", "long", *(flaw for flaw, option in FLAWS.items() if getattr(train, option))]
    facts = {"pairs": len(corpora), **{f"left_out_{flaw}": corpora.facts.get(flaw, 0) for flaw in shown}}
    return Batches(
        corpora.tokens,
        *tokenizers,
        batch_tokens=train.batch_tokens,
        weights=[source.weight for source in sources_of(train)],
        facts=facts,
        variation=_variation(run, corpora) if corpora.texts else None,
    )


def _variation(run: TranslationRun, corpora: Corpora) -> Variation:
    """How the pairs of a run differ each time that they are learnt."""
    train = run.train
    return Variation(
        corpora.texts,
        run.src_tokenizer,
        run.tgt_tokenizer,
        train.subword_sampling,
        augmentation(train, corpora.sample_texts()) if train.augments else None,
        max_length=train.max_length,
    )


def augmentation(config: TranslationConfig, pairs: Iterable[Pair]) -> Augmentation:
    """What a run asks for, by the names in a sample of its pairs."""
    return Augmentation(
        pairs,
        (config.src_language, config.tgt_language),
        copy_share=config.copy_augment,
        case_share=config.case_augment,
    )


def _shortlist(place: Path, key: str, src: Tokenizer, tgt: Tokenizer) -> Shortlist | None:
    """Which target tokens a source needs, learnt from the pairs; None where the vocabulary is so small already."""
    if len(tgt) <= 2 * ALWAYS:
        return None

    def learn(aside: Path) -> None:
        pairs, joint = open_corpora(place / key).sample(), src.model == tgt.model
        learn_shortlist(pairs, len(src), len(tgt), tgt.eos_id, joint=joint).save(aside)

    entry = place / key_of(shortlist=key)
    make_entry(entry, learn)
    return Shortlist.load(entry)


def sources_of(config: TranslationConfig) -> list[Source]:
    """Where the pairs stand.

    Raises:
        DataError: They cannot stand so.
    """
    return match_files(config.src, config.tgt) + [parse_source(written) for written in config.data]


def _paths(config: TranslationConfig) -> list[str]:
    """The files of the text."""
    return [name for source in sources_of(config) for name in source.paths]


def _look(directory: Path, sources: Sequence[Source], config: TranslationConfig) -> None:
    """What a run needs to know of its text before there are tokens: vocabularies, and pairs to validate on."""
    seen = survey(sources, config.seed, hold_out=not config.valid_src)
    if not seen.n_pairs:
        names = ", ".join(name for source in sources for name in source.paths)
        raise DataError(f"{names}: no text in there; give files with a sentence a line")
    if not config.valid_src:
        if not seen.leaves_some:
            raise DataError(
                f"{sources[0].name}: {seen.n_pairs} pairs are too few to hold some out; "
                "give --valid-src and --valid-tgt"
            )
        write_validation(directory, seen.validation)
    write_tokenizers(directory, _tokenizers(sources, seen.n_pairs, seen.validation, config))


def _tokenizers(
    sources: Sequence[Source], n_pairs: int, validation: ParallelText, config: TranslationConfig
) -> tuple[Tokenizer, Tokenizer]:
    """The source's and the target's tokenizer, given or learnt from the training text.

    Raises:
        DataError: The text is too small for the vocabulary asked for.
        ModelError: A given tokenizer cannot be used.
    """
    if config.tokenizer:
        given = [Tokenizer.load(Path(path)) for path in config.tokenizer]
        return given[0], given[-1]
    held, names = _held(validation, config), sources[0].paths

    def learn(sides: Sequence[int], name: str) -> Tokenizer:
        lines = (pair[side] for pair in sample(sources, n_pairs, held, config.seed) for side in sides)
        return train_tokenizer(lines, vocab_size=config.vocab_size, name=name)

    if config.joint:
        both = learn((0, 1), " and ".join(names))
        return both, both
    return learn((0,), names[0]), learn((1,), names[-1])


def _make_tokens(
    entry: Path,
    tokenizers: tuple[Tokenizer, Tokenizer],
    validation: ParallelText,
    config: TranslationConfig,
    threads: int | None,
) -> None:
    """Turn the text into tokens, unless they are there."""
    sources = sources_of(config)

    def fill(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent) as aside:
            making = Making(
                tokenizers=tokenizers,
                filter=Filter(config.max_length, config.max_ratio),
                seed=config.seed,
                held=_held(validation, config),
                duplicates=mark_duplicates(sources, Path(aside)) if config.deduplicate else None,
                texts=config.varies,
                threads=threads or available_cores(),
            )
            counts = write_corpora(directory, sources, making)
        _require_pairs(sources[0].name, counts, config)

    make_entry(entry, fill)


def _require_validation(
    validation: ParallelText, tokenizers: tuple[Tokenizer, Tokenizer], config: TranslationConfig
) -> None:
    flaws: Counter[str] = Counter()
    n_pairs = len(tokenize(validation, *tokenizers, max_length=config.max_length, flaws=flaws))
    _require_pairs((config.valid_src or sources_of(config)[0].paths)[0], {"pairs": n_pairs, **flaws}, config)


def _require_pairs(name: str, counts: Mapping[str, int], config: TranslationConfig) -> None:
    if counts.get("pairs"):
        return
    reasons = [f"{counts.get('empty', 0)} are empty on a side"]
    reasons.append(f"{counts.get('long', 0)} longer than --max-length {config.max_length} tokens")
    if config.max_ratio is not None:
        reasons.append(f"{counts.get('unequal', 0)} of sides that differ more than --max-ratio {config.max_ratio}")
    raise DataError(f"{name}: no pair is left: {', '.join(reasons)}")


def _held(validation: ParallelText, config: TranslationConfig) -> set[int]:
    """The fingerprints of the sources that are held out of the training text."""
    return set() if config.valid_src else {fingerprint(src, config.seed) for src in validation.src}


def _look_key(files: Sequence[TextFile], config: TranslationConfig) -> str:
    """Of all that `_look` reads."""
    given = [sha256(Path(path)) for path in config.tokenizer]
    seed = None if config.valid_src else config.seed
    return key_of(text=_content(files, config), seed=seed, vocabulary=given or (config.vocab_size, config.joint))


def _tokens_key(
    files: Sequence[TextFile],
    tokenizers: tuple[Tokenizer, Tokenizer],
    validation: ParallelText,
    config: TranslationConfig,
) -> str:
    """Of all that the tokens are made of."""
    return key_of(
        text=_content(files, config),
        held=sorted(_held(validation, config)),
        tokenizers=[hashlib.sha256(tokenizer.model).hexdigest() for tokenizer in tokenizers],
        filter=[config.max_length, config.max_ratio, config.deduplicate],
        texts=config.varies,
    )


def _content(files: Sequence[TextFile], config: TranslationConfig) -> list[list[str]]:
    """What stands in the files of each source, by their hashes, and how it is to be read."""
    hashes = {file.path: file.sha256 for file in files}
    return [[*(hashes[path] for path in source.paths), source.form] for source in sources_of(config)]
