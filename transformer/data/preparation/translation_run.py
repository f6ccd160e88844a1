"""Preparing a translation run: read the text, learn tokenizers, make batches."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.preset import network_spec, sized
from heed.models.system.files import sha256
from heed.models.system.processor import available_cores
from heed.models.tokenizers.protocol import LineTokenizer
from heed.models.tokenizers.subwords import file_contents, load_tokenizers, write_tokenizers
from heed.transformer.data.augmentation.augmentation import Augmentation
from heed.transformer.data.batching.batches import Batches
from heed.transformer.data.batching.noise import Noise
from heed.transformer.data.batching.token_cache import TextFile, TextRecord, key_of, make_entry, read_files, workplace
from heed.transformer.data.batching.tokens import Corpora, CorpusSettings, lacking, open_corpora, write_corpora
from heed.transformer.data.batching.variation import Variation
from heed.transformer.data.preparation.corpus_scan import survey
from heed.transformer.data.preparation.duplicates import mark_duplicates
from heed.transformer.data.preparation.vocabularies import make_tokenizers
from heed.transformer.data.reservoir import fingerprint
from heed.transformer.data.shortlist import ALWAYS, Shortlist, learn_shortlist
from heed.transformer.data.text.parallel_text import (
    Filter,
    ParallelText,
    read_pairs,
    read_validation,
    tokenize,
    write_validation,
)
from heed.transformer.data.text.sources import Pair, Source, match_files, parse_source
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig
from heed.transformer.training.runs.tokenizers import read_tokenizers
from heed.transformer.training.runs.warm_start import InitialNetwork

SIDES = ("source", "target")
# Of the pieces of validation text, those that may be unknown. An English-German vocabulary lacks 0.7% of French, which
# it may still learn, 2.4% of Spanish, of which a sentence in four then lacks a letter, and 50% of Japanese.
MOST_UNKNOWN = 0.01
EXTENSION = 4000  # pieces that are suggested: some more than Japanese needs for its characters
LACKING = ("unknown", "bytes")  # pieces that are told of, where there are any
FLAWS = {  # reasons to drop pairs that exist only on request
    "duplicate": "deduplicate",
    "unequal": "max_ratio",
    "bad": "skip_bad",
}


def new_run(
    path: Path,
    network: Mapping[str, object],
    config: TranslationConfig,
    initial: InitialNetwork | None = None,
    *,
    cache: Path | None = None,
    threads: int | None = None,
    kind: type[TranslationRun] = TranslationRun,
    control: Sequence[str] = (),
) -> tuple[TranslationRun, Corpora]:
    """Create a run: learn the vocabulary, fix the network's size, tokenize the text.

    Args:
        path: The run's directory.
        network: The table of the network's specification; the tokenizers decide the vocabulary sizes.
        config: The training settings.
        initial: The initial network; None: fresh weights.
        cache: Directory of the token cache; None: in the run.
        threads: CPU threads; None: all cores.
        kind: Of the run.
        control: Special pieces that its vocabulary has besides the usual ones.

    Raises:
        HeedError: A setting is impossible; nothing was written except to the cache.
    """
    sources = sources_of(config)
    files = read_files(_paths(config))
    imported = initial.imported if initial else None
    with workplace(path, cache) as place:
        look = place / _look_key(files, config, initial, control)
        make_entry(look, lambda aside: _look(aside, sources, config, initial, control))
        validation = read_pairs(config.valid_src, config.valid_tgt) if config.valid_src else read_validation(look)
        spec, tokenizers, contents = _vocabulary(look, network, config, initial)
        _require_validation(validation, tokenizers, config, is_given=bool(config.tokenizer or imported))
        record = TextRecord(
            files, _tokens_key(files, tokenizers, validation, config), str(cache.absolute()) if cache else None
        )
        _make_tokens(place / record.key, tokenizers, validation, config, threads)
        shortlist = _shortlist(place, record.key, *tokenizers, initial, joint=spec.shared_embedding)
        weights = initial.weights_for(spec, config) if initial else None
        own = None if cache else place
        run = kind.create(
            path, spec, config, contents, validation, shortlist, weights, imported=imported, text=record, cache=own
        )
    return run, open_corpora(record.entry(path))


def _vocabulary(
    look: Path, network: Mapping[str, object], config: TranslationConfig, initial: InitialNetwork | None
) -> tuple[NetworkSpec, tuple[LineTokenizer, LineTokenizer], Mapping[str, bytes]]:
    """The network with its vocabulary, the tokenizers and their files."""
    if initial and initial.imported:
        spec = network_spec(network, "the imported network")
        return spec, read_tokenizers(look, spec, config, initial.imported), initial.files
    src, tgt = load_tokenizers(look)
    spec = sized(network, len(src), len(tgt), joint=src.has_pieces_of(tgt))
    return spec, (src, tgt), file_contents(src, tgt)


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


def batches(run: TranslationRun, corpora: Corpora, noise: Noise | None = None) -> Batches:
    """The batches of a run, with noise for one that learns to restore text."""
    train, tokenizers = run.train, (run.src_tokenizer, run.tgt_tokenizer)
    shown = ["empty", "long", *(flaw for flaw, option in FLAWS.items() if getattr(train, option))]
    facts = {"pairs": len(corpora), **{f"left_out_{flaw}": corpora.facts.get(flaw, 0) for flaw in shown}}
    facts |= {f"pieces_{kind}": n for kind in LACKING if (n := corpora.facts.get(kind, 0))}
    return Batches(
        corpora.tokens,
        *tokenizers,
        batch_tokens=train.batch_tokens,
        weights=[source.weight for source in sources_of(train)],
        facts=facts,
        variation=_variation(run, corpora, noise) if corpora.texts else None,
    )


def _variation(run: TranslationRun, corpora: Corpora, noise: Noise | None) -> Variation:
    """How the pairs of a run differ each time that they are learnt."""
    train = run.train
    return Variation(
        corpora.texts,
        run.src_tokenizer,
        run.tgt_tokenizer,
        train.subword_sampling,
        augmentation(train, corpora.sample_texts()) if train.augments else None,
        max_length=train.max_length,
        noise=noise,
    )


def augmentation(config: TranslationConfig, pairs: Iterable[Pair]) -> Augmentation:
    """What a run asks for, by the names in a sample of its pairs."""
    return Augmentation(
        pairs,
        (config.src_language, config.tgt_language),
        copy_share=config.copy_augment,
        case_share=config.case_augment,
    )


def _shortlist(
    place: Path, key: str, src: LineTokenizer, tgt: LineTokenizer, initial: InitialNetwork | None, *, joint: bool
) -> Shortlist | None:
    """The shortlist learnt from the pairs, joined with the initial one; None if the vocabulary is small."""
    # An imported network may be asked for anything that it knew before, which the new text lacks.
    if len(tgt) <= 2 * ALWAYS or (initial and initial.imported):
        return None

    def learn(aside: Path) -> None:
        pairs = open_corpora(place / key).sample()
        learn_shortlist(pairs, len(src), len(tgt), tgt.eos_id, joint=joint).save(aside)

    entry = place / key_of(shortlist=key)
    make_entry(entry, learn)
    learnt = Shortlist.load(entry)
    if learnt and initial and initial.shortlist:
        return learnt.joined(initial.shortlist)  # the new text may lack most words of the old one
    return learnt


def sources_of(config: TranslationConfig) -> list[Source]:
    """The sources of the training pairs.

    Raises:
        DataError: They are inconsistent.
    """
    return match_files(config.src, config.tgt) + [
        parse_source(written, config.src_field, config.tgt_field, skip_bad=bool(config.skip_bad))
        for written in config.data
    ]


def _paths(config: TranslationConfig) -> list[str]:
    """The files of the training text."""
    return [name for source in sources_of(config) for name in source.paths]


def _look(
    directory: Path,
    sources: Sequence[Source],
    config: TranslationConfig,
    initial: InitialNetwork | None,
    control: Sequence[str],
) -> None:
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
    if not (initial and initial.imported):
        held = _held(seen.validation, config)
        write_tokenizers(directory, make_tokenizers(sources, seen.n_pairs, held, config, control))
        return
    for name, content in initial.files.items():
        (directory / name).write_bytes(content)


def _make_tokens(
    entry: Path,
    tokenizers: tuple[LineTokenizer, LineTokenizer],
    validation: ParallelText,
    config: TranslationConfig,
    threads: int | None,
) -> None:
    """Tokenize the text, unless the tokens exist."""
    sources = sources_of(config)

    def fill(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent) as aside:
            settings = CorpusSettings(
                tokenizers=tokenizers,
                filter=Filter(config.max_length, config.max_ratio),
                seed=config.seed,
                held=_held(validation, config),
                duplicates=mark_duplicates(sources, Path(aside)) if config.deduplicate else None,
                texts=config.varies,
                threads=threads or available_cores(),
            )
            counts = write_corpora(directory, sources, settings)
        _require_pairs(sources[0].name, counts, config)

    make_entry(entry, fill)


def _require_validation(
    validation: ParallelText,
    tokenizers: tuple[LineTokenizer, LineTokenizer],
    config: TranslationConfig,
    *,
    is_given: bool,
) -> None:
    flaws: Counter[str] = Counter()
    name = (config.valid_src or sources_of(config)[0].paths)[0]
    n_pairs = len(tokenize(validation, *tokenizers, max_length=config.max_length, flaws=flaws))
    _require_pairs(name, {"pairs": n_pairs, **flaws}, config)
    if not is_given or config.extend_vocabulary:  # what is learnt of the text lacks no more than it must
        return
    for side, tokenizer, lines in zip(SIDES, tokenizers, (validation.src, validation.tgt), strict=True):
        counts = lacking(tokenizer, tokenizer.encode(lines))
        share = counts["unknown"] / max(counts["pieces"], 1)
        if share > MOST_UNKNOWN:
            way_out = f"add its characters with --extend-vocabulary {EXTENSION}, or train without --init-from and"
            way_out += " --tokenizer"
            raise DataError(
                f"{name}: the vocabulary lacks {share:.1%} of the {side} text, which would train and translate as "
                f"<unk>; {way_out if config.tokenizer else 'begin with a model that knows its characters'}"
            )


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


def _look_key(
    files: Sequence[TextFile], config: TranslationConfig, initial: InitialNetwork | None, control: Sequence[str]
) -> str:
    """The cache key of everything that `_look` reads."""
    given = [sha256(Path(path)) for path in config.tokenizer]
    seed = None if config.valid_src else config.seed
    learnt = (config.vocab_size, config.joint, config.src_normalization, config.tgt_normalization)
    vocabulary: object = (given, config.extend_vocabulary) if given else learnt
    if initial and initial.imported:
        vocabulary = initial.digests
    special = {"control": list(control)} if control else {}
    return key_of(text=_content(files, config), seed=seed, vocabulary=vocabulary, **special)


def _tokens_key(
    files: Sequence[TextFile],
    tokenizers: tuple[LineTokenizer, LineTokenizer],
    validation: ParallelText,
    config: TranslationConfig,
) -> str:
    """The cache key of everything that the tokens depend on."""
    return key_of(
        text=_content(files, config),
        held=sorted(_held(validation, config)),
        tokenizers=[tokenizer.digest for tokenizer in tokenizers],
        filter=[config.max_length, config.max_ratio, config.deduplicate],
        texts=config.varies,
    )


def _content(files: Sequence[TextFile], config: TranslationConfig) -> list[list[str | None]]:
    """The hashes of the files of each source, and how they are read."""
    hashes = {file.path: file.sha256 for file in files}
    return [[*(hashes[path] for path in source.paths), *source.reading] for source in sources_of(config)]
