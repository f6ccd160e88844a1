"""Preparing a language-model run: read documents, learn a tokenizer, pack tokens into rows."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.preset import network_spec, sized
from heed.models.system.files import sha256
from heed.models.system.processor import available_cores
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.protocol import PlainTokenizer
from heed.models.tokenizers.subwords import Tokenizer, file_contents, write_tokenizers
from heed.transformer.data.batching.packing import Packing
from heed.transformer.data.batching.token_cache import TextFile, TextRecord, key_of, make_entry, read_files, workplace
from heed.transformer.data.batching.tokens import open_corpora, write_text
from heed.transformer.data.text.documents import (
    Document,
    HeldOut,
    Part,
    TextFiles,
    TextScan,
    hold_out,
    load_documents,
    survey_text,
    write_documents,
)
from heed.transformer.data.text.lines import plain_suffix
from heed.transformer.data.vocabulary import extended, train_tokenizer
from heed.transformer.training.objectives.objectives import packing
from heed.transformer.training.runs.run import TextRun
from heed.transformer.training.runs.settings import TextConfig
from heed.transformer.training.runs.tokenizers import read_text_tokenizer
from heed.transformer.training.runs.warm_start import InitialNetwork

VALIDATION = "valid.jsonl"
SAMPLE_LINES = 2_000_000  # maximum number of documents for learning a vocabulary, and
SAMPLE_CHARACTERS = 200_000_000  # approximate maximum of their characters


def new_text_run(
    path: Path,
    network: Mapping[str, object],
    config: TextConfig,
    initial: InitialNetwork | None = None,
    *,
    cache: Path | None = None,
    threads: int | None = None,
    kind: type[TextRun] = TextRun,
    control: Sequence[str] = (),
) -> tuple[TextRun, Packing]:
    """Create a run: learn the vocabulary, fix the network's size, tokenize the text.

    Args:
        path: The run's directory.
        network: The table of the network's specification; the tokenizer decides the vocabulary size.
        config: The training settings.
        initial: The initial network; None: fresh weights.
        cache: Directory of the token cache; None: in the run.
        threads: CPU threads; None: all cores.
        kind: Of the run.
        control: Special pieces that its vocabulary must have besides the usual ones.

    Raises:
        HeedError: A setting is impossible; nothing was written except to the cache.
    """
    files = read_files([*config.text, *config.pairs])
    with workplace(path, cache) as place:
        look = place / _look_key(files, config, initial, control)
        make_entry(look, lambda aside: _look(aside, config, initial, control))
        given = TextFiles(config.valid_text, config.valid_pairs, config.text_field)
        validation = given.read() if _is_given(config) else load_documents(look / VALIDATION)
        spec, tokenizer, contents = _vocabulary(look, network, initial)
        record = TextRecord(
            files, _tokens_key(files, tokenizer, validation, config), str(cache.absolute()) if cache else None
        )
        _make_tokens(place / record.key, tokenizer, validation, config, threads)
        weights = initial.weights_for(spec, config) if initial else None
        imported, own = initial.imported if initial else None, None if cache else place
        run = kind.create(path, spec, config, contents, validation, weights, imported=imported, text=record, cache=own)
    return run, _packing(run, record.entry(path))


def _vocabulary(
    look: Path, network: Mapping[str, object], initial: InitialNetwork | None
) -> tuple[NetworkSpec, PlainTokenizer, Mapping[str, bytes]]:
    """The network with its vocabulary, the tokenizer and its files."""
    if initial and initial.imported:
        spec = network_spec(network, "the imported network")
        return spec, read_text_tokenizer(look, spec, initial.imported), initial.files
    tokenizer = TextTokenizer.load(look)
    spec = sized(network, len(tokenizer), len(tokenizer), joint=True)
    return spec, tokenizer, file_contents(tokenizer.pieces, tokenizer.pieces)


def load_text(run: TextRun, threads: int | None = None) -> Packing:
    """The packed training text of a resumed run; missing tokens are made again.

    Raises:
        DataError: The text has changed, or both the text and its tokens are missing.
    """
    paths = [*run.train.text, *run.train.pairs]
    record = TextRecord.of_run(
        run.path, paths, lambda files: _tokens_key(files, run.tokenizer, run.validation, run.train)
    )
    entry = record.require(run.path)
    _make_tokens(entry, run.tokenizer, run.validation, run.train, threads)
    return _packing(run, entry)


def _packing(run: TextRun, entry: Path) -> Packing:
    corpora = open_corpora(entry)
    facts = {name: corpora.facts[name] for name in ("documents", "tokens")}
    if run.train.skip_bad:
        facts["left_out_bad"] = corpora.facts.get("bad", 0)
    return packing(run, corpora.tokens[0], facts)


def _look(directory: Path, config: TextConfig, initial: InitialNetwork | None, control: Sequence[str]) -> None:
    """The scan of the text before tokenization: a vocabulary and validation documents."""
    files = _files(config)
    seen = survey_text(files, config.seed)
    validation = list[Document]()
    if not _is_given(config):
        validation = hold_out(files, seen)
        write_documents(directory / VALIDATION, validation)
    if initial and initial.imported:
        for name, content in initial.files.items():
            (directory / name).write_bytes(content)
        return
    tokenizer = _tokenizer(_rest(seen, validation, config, Counter()), seen, config, control)
    write_tokenizers(directory, (tokenizer.pieces, tokenizer.pieces))


def _tokenizer(parts: Iterator[Part], seen: TextScan, config: TextConfig, control: Sequence[str]) -> TextTokenizer:
    """The tokenizer, given or learnt from the training text.

    Raises:
        DataError: The text is too small for the requested vocabulary.
        ModelError: A given tokenizer cannot be used.
    """
    if config.tokenizer:
        (path,) = config.tokenizer
        given = Tokenizer.load(Path(path))
        if config.extend_vocabulary:
            given = extended(given, list(_some_lines(parts, seen)), config.extend_vocabulary, name=path)
        if lacking := [piece for piece in control if given.control_id(piece) is None]:
            raise ModelError(f"{path}: has no {lacking[0]} piece; train it again with --control_symbols={lacking[0]}")
        return TextTokenizer(given, path)
    name = (config.text or config.pairs)[0]
    lines = _some_lines(parts, seen)
    return TextTokenizer(
        train_tokenizer(lines, vocab_size=config.vocab_size, name=name, verbatim=True, control=control), name
    )


def _some_lines(parts: Iterator[Part], seen: TextScan) -> Iterator[str]:
    """Lines that a vocabulary is learnt from."""
    step = max(1, -(-seen.n_lines // SAMPLE_LINES), -(-seen.n_characters // SAMPLE_CHARACTERS))
    lines = (line for part in parts for text in (part.prompt, part.text) for line in text.split("\n") if line)
    return itertools.islice(lines, 0, None, step)


def _make_tokens(
    entry: Path, tokenizer: PlainTokenizer, validation: Sequence[Document], config: TextConfig, threads: int | None
) -> None:
    """Tokenize the text, unless the tokens exist."""

    def fill(directory: Path) -> None:
        seen, counts = None if _is_given(config) else survey_text(_files(config), config.seed), Counter[str]()
        rest = _rest(seen, validation, config, counts)
        write_text(directory, rest, tokenizer, threads or available_cores(), counts)

    make_entry(entry, fill)


def _rest(
    seen: TextScan | None, validation: Sequence[Document], config: TextConfig, counts: Counter[str]
) -> Iterator[Part]:
    """The training part of the text; bad lines are counted."""
    held = HeldOut.of(seen, validation) if seen and not _is_given(config) else HeldOut()
    return held.rest(_files(config).parts(counts))


def _files(config: TextConfig) -> TextFiles:
    return TextFiles(config.text, config.pairs, config.text_field, bool(config.skip_bad))


def _is_given(config: TextConfig) -> bool:
    """Whether validation text is given, not held out."""
    return bool(config.valid_text or config.valid_pairs)


def _look_key(
    files: Sequence[TextFile], config: TextConfig, initial: InitialNetwork | None, control: Sequence[str]
) -> str:
    """The cache key of everything that `_look` reads."""
    given = [sha256(Path(path)) for path in config.tokenizer]
    seed = None if _is_given(config) else config.seed
    vocabulary: object = (given, config.extend_vocabulary) if given else config.vocab_size
    if initial and initial.imported:
        vocabulary = initial.digests
    special = {"control": list(control)} if control else {}
    return key_of(text=_content(files, config), seed=seed, vocabulary=vocabulary, **special)


def _tokens_key(
    files: Sequence[TextFile], tokenizer: PlainTokenizer, validation: Sequence[Document], config: TextConfig
) -> str:
    """The cache key of everything that the tokens depend on."""
    held = [] if _is_given(config) else [dataclasses.astuple(document) for document in validation]
    return key_of(text=_content(files, config), held=held, tokenizer=tokenizer.digest)


def _content(files: Sequence[TextFile], config: TextConfig) -> list[object]:
    """The hashes of the files, and their form."""
    hashes = {file.path: (file.sha256, plain_suffix(file.path)) for file in files}
    skipped = ["skip_bad"] if config.skip_bad else []
    return [config.text_field, *([hashes[path] for path in paths] for paths in (config.text, config.pairs)), *skipped]
