"""What is said on stderr: warnings always, notes unless -q, details with -v. Errors are raised instead."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

KEY = "heed.verbosity"  # in the context's meta: how much is said
QUIET, NORMAL, VERBOSE = -1, 0, 1


def warning(text: str) -> None:
    """Say what the user must know of the result; -q does not silence it."""
    click.echo(f"Warning: {text}", err=True)


def note(text: str) -> None:
    """Say what goes on, or what to do next."""
    if verbosity() >= NORMAL:
        click.echo(text, err=True)


def detail(text: str) -> None:
    """Say what only -v wants to know: what is loaded, from where, and how long it took."""
    if verbosity() >= VERBOSE:
        click.echo(text, err=True)


@contextlib.contextmanager
def timed(deed: str) -> Iterator[None]:
    """Say with -v what was done within the block, and how long it took."""
    begun = time.perf_counter()
    yield
    detail(f"{deed} in {time.perf_counter() - begun:.2f} s")


def console(*, stderr: bool = True) -> "Console":
    """Rich's way to a terminal, in colours where they are wanted; on stderr, which is for progress, silent with -q."""
    from rich.console import Console

    ctx = click.get_current_context(silent=True)
    colorless = True if ctx and ctx.color is False else None  # None: as NO_COLOR says
    return Console(stderr=stderr, quiet=stderr and verbosity() < NORMAL, no_color=colorless)


def verbosity() -> int:
    """How much the user wants to hear: QUIET, NORMAL or VERBOSE."""
    ctx = click.get_current_context(silent=True)
    return ctx.meta.get(KEY, NORMAL) if ctx else NORMAL


def options() -> list[click.Parameter]:
    """Those of every command, of which the last that is given counts."""

    def say(level: int, ctx: click.Context, given: bool) -> None:
        if given:
            ctx.meta[KEY] = level

    def uncolor(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        if given:
            ctx.color = False

    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=lambda ctx, _, given: say(QUIET, ctx, given),
            help="Say nothing but warnings and errors: no notes, no progress.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=lambda ctx, _, given: say(VERBOSE, ctx, given),
            help="Say also what is loaded and how long it takes.",
        ),
        click.Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            callback=uncolor,
            help="No colours, as with NO_COLOR in the environment.",
        ),
    ]
