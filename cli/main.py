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

from heed.cli.io.signals import ENDING, Terminated, came, end_on_signals, raise_no_more
from heed.models.errors import HeedError
from heed.models.system.huge_pages import allow_huge_pages

# Help and completion name every command without importing what it needs. The commands by the package that they are in.
PACKAGES = {
    "building": {
        "train": "Train a translation model or a language model.",
        "runs": "List training runs and plot them.",
        "export": "Turn a training run into a verified ONNX bundle.",
        "import": "Make a bundle of another toolkit's model.",
        "models": "List, describe, verify, fetch and remove models.",
    },
    "inference": {
        "translate": "Translate lines of text, or files of other formats.",
        "generate": "Continue a text.",
        "fill": "Fill masks in a text.",
        "embed": "Turn lines into vectors, or find similar lines.",
        "attention": "Show which word attends to which in a text.",
        "align": "Align the words of texts and their translations.",
        "score": "Compute the log-probability of texts or translations.",
        "evaluate": "Evaluate translations: BLEU, chrF and TER.",
        "serve": "Serve models over HTTP.",
    },
    "setup": {
        "doctor": "Report what works on this machine, and why the rest does not.",
        "completion": "Print the shell script that completes commands.",
        "man": "Print the man page of heed or of a command.",
    },
}
COMMANDS = {name: words for commands in PACKAGES.values() for name, words in commands.items()}


class Program(click.Group):
    """The command group: loads a command's module when it runs, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command."""
        package = next((package for package, commands in PACKAGES.items() if cmd_name in commands), None)
        if package is None:
            return None
        module = "import_" if cmd_name == "import" else cmd_name  # which Python does not take for a name
        command = importlib.import_module(f"heed.cli.commands.{package}.{module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a line; for a misspelt one, suggest similar names."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, so that help does not import them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Parse the command line; printing help or the version may fail, too."""
        with _errors_told():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a known error becomes one line on stderr."""
        with _errors_told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """Turn a known error into one line on stderr and an exit status."""
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
            raise_no_more()
            sys.exit(128 + number)
        raise


def _abandon_output() -> None:
    """Redirect stdout to the null device, so that Python's last flush succeeds without a reader or disk space."""
    with contextlib.suppress(io.UnsupportedOperation):  # stdout has no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(error: OSError) -> str:
    """An error of the operating system, with the file and what to do."""
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
    epilog="Help for one command: heed translate --help. What works on this machine: heed doctor.",
)
@click.version_option(package_name="heed", message="heed %(version)s")
def main() -> None:
    """The Transformer as a command-line tool: train, export, translate and generate text.

    \b
    echo "Good morning!" | heed translate
    heed train --src train.en --tgt train.de -o runs/ende
    heed export runs/ende -o ende
    heed translate -m ende -i news.en -o news.de
    heed generate "ROMEO:"
    """


def run() -> None:
    """Entry point of the installed program: run the commands and exit at once.

    All output is flushed by then, and a normal shutdown of Python and ONNX Runtime takes longer than translating a
    sentence.
    """
    try:
        status = _status()
    except (KeyboardInterrupt, Terminated):  # that came between two lines of this
        status = 128 + (came() or signal.SIGINT)
    raise_no_more()
    for number in ENDING:  # another signal ends what may still wait, silently
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
    """Make a stream that the caller closed fail when used; otherwise the next opened file would take its descriptor."""
    for number, (name, how) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            unfit = os.O_WRONLY if name == "stdin" else os.O_RDONLY
            if os.open(os.devnull, os.O_RDWR if name == "stderr" else unfit) == number:
                setattr(sys, name, open(number, how, encoding="utf-8"))  # noqa: PTH123, SIM115 - for as long as we run
