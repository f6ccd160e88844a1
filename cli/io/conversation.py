"""A conversation on the terminal."""

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from heed.cli import messages
from heed.cli.io.inputs import read_lines
from heed.cli.io.records import Decoder
from heed.cli.io.signals import handled
from heed.cli.io.streams import write
from heed.models.errors import DataError

if TYPE_CHECKING:
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generator


def converse(generator: "Generator", config: "SampleConfig", system: str | None = None) -> None:
    """Answer a person line by line until the input ends.

    Args:
        generator: Generates the answers.
        config: Sampling settings; stop strings end an answer, too.
        system: Instructions to the model.

    Raises:
        ModelError: The model takes no instructions.
    """
    from heed.models.decoding.sampling import seeded
    from heed.models.text.chat import ChatTemplate, Conversation

    if generator.chat_template is None:
        messages.note("This model was not taught conversations; it continues one as plain text.")
    template = generator.chat_template or ChatTemplate()
    conversation = Conversation(
        template, lambda text: len(generator.tokenizer.encode(text)), generator.prompt_room(config.max_tokens), system
    )
    config = seeded(dataclasses.replace(config, stop=(*template.stop, *config.stop)))
    n_forgotten = 0
    for number, message in enumerate(_messages()):
        try:
            prompt = conversation.ask(message)
        except DataError as error:
            click.echo(f"Error: {error}", err=True)
            continue
        if conversation.n_forgotten > n_forgotten:
            n_forgotten = conversation.n_forgotten
            messages.note(f"The context is full; it now starts after turn {n_forgotten} of the conversation.")
        conversation.add(message, _answer(generator.stream(prompt, config, number=number)))


def _answer(pieces: Iterable[str]) -> str:
    """Write an answer as it is generated; Ctrl-C stops it. Return it as the model wrote it."""
    answer = ""
    try:
        for text in pieces:
            # The space between the speaker's name and the answer in the template is not shown.
            shown = text if answer.strip() else text.lstrip()
            answer += text
            write(shown)
    except KeyboardInterrupt:
        handled()
        click.echo(" (stopped)", err=True, nl=False)
    write("\n")
    return answer


def _messages() -> Iterator[str]:
    """Lines typed by a person or read from a pipe, without blank ones."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        messages.note("Ctrl-C stops an answer, Ctrl-D ends.")
        lines = _typed()
    else:
        lines = itertools.chain.from_iterable(read_lines(("-",), Decoder(), 1, invitation="Ctrl-D ends."))
    return (line for line in lines if line.strip())


def _typed() -> Iterator[str]:
    """Lines typed by a person, with line editing and history as in a shell."""
    import readline  # noqa: F401 - it changes what `input` does

    while True:
        try:
            yield input("> ").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:  # abandons the line, as in a shell
            handled()
            click.echo(err=True)
