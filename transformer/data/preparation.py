"""Preparing a translation run: read the text, learn tokenizers, make batches."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.models.spec.preset import sized
from heed.models.system.files import sha256
from heed.models.system.processor import available_cores
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers, write_tokenizers
from heed.transformer.data.batching.batches import Batches
from heed.transformer.data.batching.subword_regularization import Resampling
from heed.transformer.data.batching.token_cache import TextFile, TextRecord, key_of, make_entry, read_files, workplace
from heed.transformer.data.batching.tokens import Corpora, Making, open_corpora, write_corpora
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
from heed.transformer.data.sources import Source, match_files, parse_source
from heed.transformer.data.vocabulary import train_tokenizer
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig
from heed.transformer.training.runs.warm_start import Initial

FLAWS = {"duplicate": "deduplicate", "unequal": "max_ratio"}  # reasons to drop pairs that exist only on request


def new_run(
    path: Path,
    network: Mapping[str, object],
    config: TranslationConfig,
    initial: Initial | None = None,
    *,
    cache: Path | None = None,
    threads: int | None = None,
) -> tuple[TranslationRun, Corpora]:
    """Create a run: learn the vocabulary, fix the network's size, tokenize the text.

    Args:
        path: The run's directory.
        network: The table of the network's specification; the tokenizers decide the vocabulary sizes.
        config: The training settings.
        initial: The initial network; None: fresh weights.
        cache: Directory of the token cache; None: in the run.
        threads: CPU threads; None: all cores.

    Raises:
        HeedError: A setting is impossible; nothing was written except to the cache.
    """
    sources = sources_of(config)
    files = read_files(_paths(config))
    with workplace(path, cache) as place:
        look = place / _look_key(files, config)
        make_entry(look, lambda aside: _look(aside, sources, config))
        src, tgt = load_tokenizers(look)
        validation = read_pairs(config.valid_src, config.valid_tgt) if config.valid_src else read_validation(look)
        spec = sized(network, len(src), len(tgt), joint=src.model == tgt.model)
        _require_validation(validation, (src, tgt), config)
        record = TextRecord(
            files, _tokens_key(files, (src, tgt), validation, config), str(cache.absolute()) if cache else None
        )
        _make_tokens(place / record.key, (src, tgt), validation, config, threads)
        learnt = _shortlist(place, record.key, src, tgt)
        if learnt and initial and initial.shortlist:
            learnt = learnt.joined(initial.shortlist)  # the new text may lack most words of the old one
        weights = initial.weights if initial else None
        run = TranslationRun.create(
            path, spec, config, (src, tgt), validation, learnt, weights, text=record, cache=None if cache else place
        )
    return run, open_corpora(record.entry(path))


def load_corpus(run: TranslationRun, threads: int | None = None) -> Corpora:
    """The training pairs of a resumed run; missing tokens are made again.

    Raises:
        DataError: The text has changed, or both the text and its tokens are missing.
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
        resampling=Resampling(corpora.texts, *tokenizers, train.subword_sampling) if corpora.texts else None,
    )


def _shortlist(place: Path, key: str, src: Tokenizer, tgt: Tokenizer) -> Shortlist | None:
    """The shortlist learnt from the pairs; None if the vocabulary is small."""
    if len(tgt) <= 2 * ALWAYS:
        return None

    def learn(aside: Path) -> None:
        pairs, joint = open_corpora(place / key).sample(), src.model == tgt.model
        learn_shortlist(pairs, len(src), len(tgt), tgt.eos_id, joint=joint).save(aside)

    entry = place / key_of(shortlist=key)
    make_entry(entry, learn)
    return Shortlist.load(entry)


def sources_of(config: TranslationConfig) -> list[Source]:
    """The sources of the training pairs.

    Raises:
        DataError: They are inconsistent.
    """
    return match_files(config.src, config.tgt) + [parse_source(written) for written in config.data]


def _paths(config: TranslationConfig) -> list[str]:
    """The files of the training text."""
    return [name for source in sources_of(config) for name in source.paths]


def _look(directory: Path, sources: Sequence[Source], config: TranslationConfig) -> None:
    """The scan of the text before tokenization: vocabularies and validation pairs."""
    seen = survey(sources, config.seed, hold_out=not config.valid_src)
    if not seen.n_pairs:
        names = ", ".join(name for source in sources for name in source.paths)
        raise DataError(f"{names}: no text; give files with one sentence per line")
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
    """The source and target tokenizers, given or learnt from the training text.

    Raises:
        DataError: The text is too small for the requested vocabulary.
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
    """Tokenize the text, unless the tokens exist."""
    sources = sources_of(config)

    def fill(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent) as aside:
            making = Making(
                tokenizers=tokenizers,
                filter=Filter(config.max_length, config.max_ratio),
                seed=config.seed,
                held=_held(validation, config),
                duplicates=mark_duplicates(sources, Path(aside)) if config.deduplicate else None,
                texts=config.subword_sampling > 0,
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
    reasons = [f"{counts.get('empty', 0)} with an empty side"]
    reasons.append(f"{counts.get('long', 0)} longer than --max-length {config.max_length} tokens")
    if config.max_ratio is not None:
        reasons.append(f"{counts.get('unequal', 0)} with sides beyond --max-ratio {config.max_ratio}")
    raise DataError(f"{name}: no pair is left: {', '.join(reasons)}")


def _held(validation: ParallelText, config: TranslationConfig) -> set[int]:
    """The fingerprints of the held-out sources."""
    return set() if config.valid_src else {fingerprint(src, config.seed) for src in validation.src}


def _look_key(files: Sequence[TextFile], config: TranslationConfig) -> str:
    """The cache key of everything that `_look` reads."""
    given = [sha256(Path(path)) for path in config.tokenizer]
    seed = None if config.valid_src else config.seed
    return key_of(text=_content(files, config), seed=seed, vocabulary=given or (config.vocab_size, config.joint))


def _tokens_key(
    files: Sequence[TextFile],
    tokenizers: tuple[Tokenizer, Tokenizer],
    validation: ParallelText,
    config: TranslationConfig,
) -> str:
    """The cache key of everything that the tokens depend on."""
    return key_of(
        text=_content(files, config),
        held=sorted(_held(validation, config)),
        tokenizers=[hashlib.sha256(tokenizer.model).hexdigest() for tokenizer in tokenizers],
        filter=[config.max_length, config.max_ratio, config.deduplicate],
        texts=config.subword_sampling > 0,
    )


def _content(files: Sequence[TextFile], config: TranslationConfig) -> list[list[str]]:
    """The hashes of the files of each source, and their form."""
    hashes = {file.path: file.sha256 for file in files}
    return [[*(hashes[path] for path in source.paths), source.form] for source in sources_of(config)]
