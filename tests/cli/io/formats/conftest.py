"""What the tests of formats share."""

import re
from collections.abc import Callable

import pytest

from heed.cli.io.formats.choice import Format
from heed.cli.io.formats.document import Document, Grammar
from heed.cli.io.inputs import Window
from heed.cli.io.records import Decoder

Translate = Callable[[str], str]


def fill_format(form: Format, data: bytes, translate: Translate) -> bytes:
    """What a format makes of a file, given what becomes of each text."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", data)  # as files are read: cut after \n alone
    windows = form.records([Window("file", 1, lines)], 3)
    return b"".join(record.filled(*map(translate, record.texts)) for window in windows for record in window)


def fill_document(grammar: Grammar, data: bytes, translate: Translate) -> bytes:
    return fill_format(Document(grammar, Decoder()), data, translate)


@pytest.fixture(scope="session")
def fill() -> Callable[..., bytes]:
    """Fills a document of a grammar with what becomes of each text."""
    return fill_document


@pytest.fixture(scope="session")
def fill_lines() -> Callable[..., bytes]:
    """The same, of any format."""
    return fill_format
