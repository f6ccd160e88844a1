"""What is said of a run in words, above what is drawn of it."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from heed.cli.scale import figure
from heed.models.history import VARIANTS, History, is_number, variant_of

KINDS = {"encoder-decoder": "translation", "decoder": "text"}
FIGURES = {"bleu": "BLEU", "bits_per_byte": "bits a byte", "perplexity": "perplexity"}
LONG = 120.0  # minutes that are told in hours
MOST_STEPS = 5  # of an event, that are named


def names(paths: Sequence[Path]) -> list[str]:
    """Runs by the names of their directories, or by their paths where those are not enough."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def facts(history: History) -> str:
    """What a run is and how far it came."""
    size, speed = history.start.get("parameters"), history.tokens_per_second
    parts = (
        KINDS[history.kind],
        f"{size / 1e6:.3g}M parameters" if is_number(size) else "",
        f"{history.last_step:,} steps",
        _duration(history.minutes),
        f"{speed:,.0f} tokens/s" if speed else "",
        "finished" if history.finished else "unfinished",
    )
    return ", ".join(filter(None, parts))


def _duration(minutes: float) -> str:
    if not minutes:
        return ""
    return f"{minutes:.1f} min" if minutes < LONG else f"{minutes / 60:.1f} h"


def best(history: History) -> str:
    """The best checkpoint and its figures."""
    found = history.best
    if found is None:
        return "not validated yet"
    variant = variant_of(found)
    where = f"{VARIANTS[variant]} at step" if variant else "step"
    known = [f"{word} {figure(found[name])}" for name, word in FIGURES.items() if is_number(found.get(name))]
    return f"best: {where} {found['step']:,}, {', '.join(known)}"


def events(history: History) -> str:
    """What else happened, and when; "" if nothing did."""
    found: dict[str, list[str]] = defaultdict(list)
    for mark in history.marks:
        found[mark["event"].replace("_", " ")].append(f"{mark['step']:,}")
    return "; ".join(
        f"{event} at step {' and '.join(steps)}"
        if len(steps) <= MOST_STEPS
        else f"{event} {len(steps):,} times, last at step {steps[-1]}"
        for event, steps in found.items()
    )
