"""Messages on stderr: warnings always, notes unless -q, details with -v. Errors are raised instead."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

KEY = "heed.verbosity"  # of the verbosity in the context's meta
QUIET, NORMAL, VERBOSE = -1, 0, 1


def warning(text: str) -> None:
    """Print what the user must know about the result; -q does not silence it."""
    click.echo(f"Warning: {text}", err=True)


def note(text: str) -> None:
    """Print what is happening, or what to do next."""
    if verbosity() >= NORMAL:
        click.echo(text, err=True)


def passed_over(n_lines: int) -> str:
    """How many bad lines were not used."""
    return "1 bad line was passed over" if n_lines == 1 else f"{n_lines} bad lines were passed over"


def detail(text: str) -> None:
    """Print with -v alone: what is loaded, from where, and how long it took."""
    if verbosity() >= VERBOSE:
        click.echo(text, err=True)


@contextlib.contextmanager
def timed(action: str) -> Iterator[None]:
    """Report with -v what the block did and how long it took."""
    start = time.perf_counter()
    yield
    detail(f"{action} in {time.perf_counter() - start:.2f} s")


def console(*, stderr: bool = True) -> "Console":
    """A Rich console that honours --no-color; the one on stderr, for progress, is silent with -q."""
    from rich.console import Console

    ctx = click.get_current_context(silent=True)
    colorless = True if ctx and ctx.color is False else None  # None: NO_COLOR decides
    return Console(stderr=stderr, quiet=stderr and verbosity() < NORMAL, no_color=colorless)


def verbosity() -> int:
    """The verbosity that the user chose: QUIET, NORMAL or VERBOSE."""
    ctx = click.get_current_context(silent=True)
    return ctx.meta.get(KEY, NORMAL) if ctx else NORMAL


def options() -> list[click.Parameter]:
    """The options of every command; of -q and -v the last one counts."""

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
            help="Print only warnings and errors, no notes or progress.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=lambda ctx, _, given: say(VERBOSE, ctx, given),
            help="Also report what is loaded and how long it takes.",
        ),
        click.Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            callback=uncolor,
            help="Print no colours, as with NO_COLOR in the environment.",
        ),
    ]
