"""The `heed` program: its commands, and how an error becomes one line and an exit code."""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click

from heed.cli.io.signals import ENDING, Terminated, came, end_on_signals
from heed.models.errors import HeedError
from heed.models.system.huge_pages import allow_huge_pages

# Help and completion name every command without importing what it needs.
COMMANDS = {
    "train": "Train a Transformer to translate, or to go on with text.",
    "runs": "List training runs and draw how they went.",
    "export": "Turn a training run into a verified ONNX bundle.",
    "import": "Make a bundle of another toolkit's model.",
    "translate": "Translate lines of text.",
    "generate": "Go on with a text.",
    "score": "Say how likely texts or translations are.",
    "evaluate": "Score translations: BLEU, chrF and TER.",
    "doctor": "Say what works here, and what does not and why.",
    "models": "List, describe and verify models.",
    "completion": "Print a script by which a shell completes commands.",
    "man": "Print the man page of heed or of a command, made from its help.",
}


class Program(click.Group):
    """The command group: loads a command's module when it runs, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        module = "import_" if cmd_name == "import" else cmd_name  # which Python does not take for a name
        command = importlib.import_module(f"heed.cli.commands.{module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a line; for a misspelt one, name those that look like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Read the command line; to print help or the version may fail, too."""
        with _errors_told():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a known error becomes a line on stderr."""
        with _errors_told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """Turn a known error into a line on stderr and an exit status."""
    try:
        with _signals_win():
            yield
    except HeedError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None:
            _abandon_output()
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        click.echo(f"Error: {_describe(error)}", err=True)
        sys.exit(1)
    except MemoryError:
        click.echo("Error: out of memory; free some, or raise the limit (ulimit -v)", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Terminated:
        sys.exit(143)


@contextlib.contextmanager
def _signals_win() -> Iterator[None]:
    """Let a signal be a signal that a library has taken for its own failure: SentencePiece's callback, an import."""
    try:
        yield
    except (SystemExit, click.exceptions.Exit):
        raise
    except BaseException:
        if number := came():
            sys.exit(128 + number)
        raise


def _abandon_output() -> None:
    """Let Python's last flush of what stdout still holds succeed: its reader has left, or its disk is full."""
    with contextlib.suppress(io.UnsupportedOperation):  # stdout is no file of the operating system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(error: OSError) -> str:
    """An error of the operating system, with the file and the way out."""
    where = f"{error.filename}: " if error.filename else ""
    ways_out = {
        errno.ENOSPC: "free some space and run the command again; nothing was replaced",
        errno.ENOENT: "check the name",
        errno.EACCES: "check the permissions",
        errno.EROFS: "choose another place",
        errno.EISDIR: "name a file in it",
        errno.EBADF: "stdin or stdout was closed; name a file, or open it",
    }
    way_out = ways_out.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {way_out}" if way_out else "")


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command explains itself: heed translate --help. heed doctor says what works here.",
)
@click.version_option(package_name="heed", message="heed %(version)s")
def main() -> None:
    """The Transformer as a shell tool: train it, export it, translate or write with it.

    \b
    echo "Good morning!" | heed translate
    heed train --src train.en --tgt train.de -o runs/ende
    heed export runs/ende -o ende
    heed translate -m ende -i news.en -o news.de
    heed generate "ROMEO:"
    """


def run() -> None:
    """What the installed program calls: the commands, and an end without delay.

    All output is out by then, and taking down Python and ONNX Runtime piece by piece takes longer than a sentence.
    """
    try:
        status = _status()
    except (KeyboardInterrupt, Terminated):  # that came between two lines of this
        status = 128 + (came() or signal.SIGINT)
    for number in ENDING:  # another one ends what may still wait, without a word
        signal.signal(number, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _status() -> int:
    """Run the command line; returns its exit status."""
    try:
        with _errors_told():
            _open_closed_streams()
            end_on_signals()
            allow_huge_pages()
            main()
    except SystemExit as end:
        if isinstance(end.code, str):
            click.echo(end.code, err=True)
            return 1
        return end.code or 0
    return 0


def _open_closed_streams() -> None:
    """Let a stream that the caller has closed fail when it is used; else the next file to be opened would be it."""
    for number, (name, how) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            unfit = os.O_WRONLY if name == "stdin" else os.O_RDONLY
            if os.open(os.devnull, os.O_RDWR if name == "stderr" else unfit) == number:
                setattr(sys, name, open(number, how, encoding="utf-8"))  # noqa: PTH123, SIM115 - for as long as we run
