"""From what was asked to what a trainer of texts needs: documents read, a tokenizer learnt, tokens in rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from heed.models.config import LanguageModelConfig, defaults, from_table
from heed.models.text_tokenizer import TextTokenizer
from heed.models.tokenizer import Tokenizer
from heed.transformer.config import TextConfig
from heed.transformer.documents import Document, TokenStream, hold_out, read_completions, read_documents
from heed.transformer.initial import Initial
from heed.transformer.objectives import packing
from heed.transformer.packing import Packing
from heed.transformer.run import TextRun
from heed.transformer.subwords import train_tokenizer

HELD_OUT_SHARE = 0.05  # of the text, for validation where none is given


def read_text(config: TextConfig) -> tuple[list[Document], list[Document]]:
    """The training and the validation documents; the same ones every time.

    Raises:
        DataError: The files cannot be used.
        OSError: A file cannot be read.
    """
    training = _read(config.text, config.pairs, config.text_field)
    if config.valid_text or config.valid_pairs:
        return training, _read(config.valid_text, config.valid_pairs, config.text_field)
    return hold_out(training, HELD_OUT_SHARE, config.seed)


def _read(texts: Sequence[str], pairs: Sequence[str], field: str) -> list[Document]:
    documents = read_documents(texts, field) if texts else []
    return documents + read_completions(pairs) if pairs else documents


def learn_tokenizer(documents: Sequence[Document], config: TextConfig) -> TextTokenizer:
    """The tokenizer, given or learnt from the training text.

    Raises:
        DataError: The text is too small for the vocabulary asked for.
        ModelError: A given tokenizer cannot be used.
    """
    if config.tokenizer:
        (path,) = config.tokenizer
        return TextTokenizer(Tokenizer.load(Path(path)), path)
    name = (config.text or config.pairs)[0]
    lines = (
        line for document in documents for text in (document.prompt, document.text) for line in text.split("\n") if line
    )
    return TextTokenizer(train_tokenizer(lines, vocab_size=config.vocab_size, name=name, verbatim=True), name)


def new_text_run(
    path: Path, network: Mapping[str, object], config: TextConfig, initial: Initial | None = None
) -> tuple[TextRun, Packing]:
    """Make a run: read the text, learn the vocabulary, settle the network's size.

    Args:
        path: The run's directory.
        network: The fields of its `LanguageModelConfig` but for the vocabulary, which the tokenizer decides.
        config: What was asked.
        initial: The network to begin with; None: a fresh one.

    Raises:
        HeedError: Something asked for cannot be; nothing has been written.
    """
    training, validation = read_text(config)
    tokenizer = learn_tokenizer(training, config)
    table = {**defaults(LanguageModelConfig), **network, "vocab_size": len(tokenizer)}
    model = from_table(LanguageModelConfig, table, "the network asked for")
    weights = initial.weights if initial else None
    run = TextRun.create(path, model, config, tokenizer, validation, weights)
    return run, packing(run, TokenStream(training, tokenizer))


def load_text(run: TextRun) -> Packing:
    """The training text of a run that goes on, in rows."""
    training, _ = read_text(run.train)
    return packing(run, TokenStream(training, run.tokenizer))
