"""The base class of commands: options in sections, -q, -v and --no-color, and an error for packages not installed."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from heed.cli import messages
from heed.models.errors import HeedError

WIDEST = 22  # characters; an option with longer names has its help below them
METAVARS = {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}  # shorter than Click's


class Command(click.Command):
    """A command of heed.

    Args:
        sections: Parameter names by the heading that help lists them under; the others come last.
        extra: The extra of heed whose packages the command needs.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, extra: str | None = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.sections = sections or {}
        self.extra = extra
        self.params += messages.options()
        for parameter in self.params:
            parameter.metavar = parameter.metavar or METAVARS.get(parameter.type.name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let options that may be repeated take several values, as a shell makes them of `--text *.txt`."""
        if not any(isinstance(parameter, click.Argument) for parameter in self.params):
            args = self._repeated(args)
        return super().parse_args(ctx, args)

    def _repeated(self, args: Sequence[str]) -> list[str]:
        """The arguments with the option before each of its values."""
        names = {name for parameter in self.params if parameter.multiple for name in parameter.opts}
        found, option, n_values = list[str](), "", 0
        for arg in args:
            if arg.startswith("-") and arg != "-":
                option, n_values = (arg if arg in names else ""), 0
            else:
                found += [option] * bool(option and n_values)
                n_values += 1
            found.append(arg)
        return found

    def option_sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """The help records of the options, by heading."""
        headings = {name: heading for heading, names in self.sections.items() for name in names}
        other = "Other options" if self.sections else "Options"
        found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*self.sections, other)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                found[headings.get(parameter.name or "", other)].append(record)
        return {heading: records for heading, records in found.items() if records}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options by section, with the same column width in all."""
        sections = self.option_sections(ctx)
        names = [name for records in sections.values() for name, _ in records]
        width = min(WIDEST, max(len(name) for name in names))
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), words) for name, words in records], col_max=width)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; name the extra that installs a missing package.

        Raises:
            HeedError: A package is not installed.
        """
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if self.extra is None or package == "heed":
                raise
            raise HeedError(
                f"{ctx.command_path} needs {package}, which is not installed; "
                f"where heed's source is: pip install '.[{self.extra}]'"
            ) from None


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
