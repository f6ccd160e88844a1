"""The options of every command as a page of Markdown: `python -m heed.cli.reference > docs/options.md`."""

import inspect
from collections.abc import Iterator, Sequence

import click

from heed.cli import messages
from heed.cli.command import Command
from heed.cli.main import main

HEAD = """# Options

Every command and its options. This page is generated from the commands; do not edit it:

<!-- not run: writes this page -->
```sh
python -m heed.cli.reference > docs/options.md
```

The same text is in `heed COMMAND --help` and, as a man page, in `heed man COMMAND`. A default in brackets applies when
the option is not given; an environment variable in brackets sets another default.

## Every command

| option | |
|---|---|
"""


def reference() -> str:
    """The page: a heading for each command, and a table of options for each section of its help."""
    program = click.Context(main, info_name="heed", help_option_names=["-h", "--help"])
    records = [option.get_help_record(program) for option in messages.options()]
    shared = [record for record in (*records, ("-h, --help", "Show this message and exit.")) if record]
    sections = (_section(ctx, shared) for ctx in _commands(program))
    return HEAD + "\n".join(map(_row, shared)) + "\n" + "".join(sections)


def _commands(ctx: click.Context) -> Iterator[click.Context]:
    """The contexts of all commands below a group, depth first."""
    if not isinstance(ctx.command, click.Group):
        yield ctx
        return
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None
        yield from _commands(click.Context(command, parent=ctx, info_name=name))


def _section(ctx: click.Context, shared: Sequence[tuple[str, str]]) -> str:
    """What the page says of one command: its options but for those that all commands share."""
    command = ctx.command
    assert isinstance(command, Command)
    summary = inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " ")
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = [f"\n## {ctx.command_path}\n\n{summary} Usage: `{usage}`\n"]
    for heading, options in command.option_sections(ctx).items():
        rows = [_row(option) for option in options if option not in shared]
        if rows:
            lines += ["\n".join(["", f"| {heading} | |", "|---|---|", *rows, ""])]
    return "".join(lines)


def _row(option: tuple[str, str]) -> str:
    """A row of a table: the names of an option and what they mean, without line ends, bars and tags."""
    names, meaning = (" ".join(text.split()).replace("|", "\\|") for text in option)
    return f"| `{names}` | {meaning.replace('<', '&lt;')} |"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
