"""`heed man`: the help of commands as man pages (man(7))."""

import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.models.system.files import write_whole

EXIT_STATUS = {
    "0": "Done.",
    "1": "Failure: the output exists, the disk is full, a package is not installed.",
    "2": "Wrong usage: an unknown command or option, or a missing one.",
    "3": "Bad data.",
    "4": "Bad model.",
    "130": "Interrupted (Ctrl-C).",
    "141": "The reader of the output has gone.",
    "143": "Terminated (SIGTERM).",
}


@click.command(cls=Command)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory to write the pages of all commands to; existing pages are replaced.",
)
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], output: Path | None) -> None:
    """Print the man page of heed or of a command.

    \b
    heed man translate | man -l -
    heed man -o /usr/local/share/man/man1
    """
    program = ctx.find_root().command.make_context("heed", [], resilient_parsing=True)
    pages = {page.command_path: page for page in _contexts(program)}
    if output is None:
        path = " ".join(("heed", *words))
        if path not in pages:
            raise click.UsageError(f"There is no command {path!r}.")
        click.echo(_page(pages[path]), nl=False)
        return
    if words:
        raise click.UsageError("-o writes the pages of all commands; leave out the command, or -o.")
    for name, page in pages.items():
        write_whole(output / f"{name.replace(' ', '-')}.1", _page(page).encode())
    messages.note(f"{len(pages)} pages in {output}")


def _contexts(ctx: click.Context) -> Iterator[click.Context]:
    """The contexts of a command and of all its subcommands."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            held = ctx.command.get_command(ctx, name)
            assert held is not None
            yield from _contexts(click.Context(held, parent=ctx, info_name=name))


def _page(ctx: click.Context) -> str:
    """The page of a command."""
    command, name = ctx.command, ctx.command_path.replace(" ", "-")
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    examples = [paragraph for paragraph in paragraphs if paragraph.startswith("\b")]
    lines = [
        f'.TH {name.upper()} 1 "" "heed {version("heed")}" "heed"',
        ".SH NAME",
        _escaped(f"{name} - {' '.join(paragraphs[0].split()).removesuffix('.')}"),
        ".SH SYNOPSIS",
        f".B {_escaped(ctx.command_path)}",
        _escaped(" ".join(command.collect_usage_pieces(ctx))),
        ".SH DESCRIPTION",
        *(f".PP\n{_escaped(' '.join(text.split()))}" for text in paragraphs if text not in examples),
        ".SH EXAMPLES",
        *(_example(text) for text in examples),
        *_options(ctx),
    ]
    if isinstance(command, click.Group):
        held = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        lines += _list(".SH COMMANDS", ((name, one.get_short_help_str(200)) for name, one in held if one))
    if ctx.parent is None:
        lines += _list(".SH ENVIRONMENT", options.ENVIRONMENT.items())
        lines += _list(".SH EXIT STATUS", EXIT_STATUS.items())
    return "\n".join(lines) + "\n"


def _example(text: str) -> str:
    """The example commands of a help text, which begin with Click's mark for lines that are not joined."""
    return "\n".join([".PP", ".RS 4", ".nf", *map(_escaped, text.split("\n")[1:]), ".fi", ".RE"])


def _options(ctx: click.Context) -> list[str]:
    """The options, under the headings of the help."""
    if isinstance(ctx.command, Command):
        sections = ctx.command.option_sections(ctx)
        return [".SH OPTIONS", *(line for name, rows in sections.items() for line in _list(f".SS {name}", rows))]
    records = (parameter.get_help_record(ctx) for parameter in ctx.command.get_params(ctx))
    return _list(".SH OPTIONS", filter(None, records))


def _list(heading: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """A list of terms with their meanings."""
    lines = [heading]
    for term, meaning in rows:
        lines += [".TP", f".B {_escaped(term)}", _escaped(meaning)]
    return lines


def _escaped(text: str) -> str:
    """Text without troff commands, in which hyphens can be pasted into a shell."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
