"""What is said of a run in words, above what is drawn of it."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from heed.cli.charts.scale import figure
from heed.models.runs.history import VARIANTS, History, Record, is_number, variant_of

TASKS = {"translate": "translation", "generate": "text"}
FIGURES = {"bleu": "BLEU", "bits_per_byte": "bits a byte", "perplexity": "perplexity"}
LONG = 120.0  # minutes that are told in hours
MOST_STEPS = 5  # of an event, that are named


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headline:
    """The words about one run."""

    name: str
    hue: int | None  # the colour of its curves, where there are several runs
    best: str  # the best checkpoint and its figures
    facts: str  # what it is and how far it came
    events: str  # what else happened, and when; "" if nothing did


def headlines(histories: Sequence[History]) -> list[Headline]:
    """Of runs that are drawn together."""
    names = _names([history.path for history in histories])
    return [
        Headline(
            name=name,
            hue=number if len(histories) > 1 else None,
            best=_best(history.best),
            facts=_facts(history),
            events=_events(history.marks),
        )
        for number, (name, history) in enumerate(zip(names, histories, strict=True))
    ]


def figures(record: Record) -> list[str]:
    """Those of a validation, the one that counts most first."""
    return [f"{word} {figure(record[name])}" for name, word in FIGURES.items() if is_number(record.get(name))]


def _names(paths: Sequence[Path]) -> list[str]:
    """Runs by the names of their directories, or by their paths where those are not enough."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _best(record: Record | None) -> str:
    if record is None:
        return "not validated yet"
    variant = variant_of(record)
    where = f"{VARIANTS[variant]} at step" if variant else "step"
    return ", ".join([f"best: {where} {record['step']:,}", *figures(record)])


def _facts(history: History) -> str:
    size, minutes, speed = history.start.get("parameters"), history.minutes, history.tokens_per_second
    parts = (
        TASKS[history.task],
        f"{size / 1e6:.3g}M parameters" if isinstance(size, int) else "",
        f"{history.last_step:,} steps",
        (f"{minutes:.1f} min" if minutes < LONG else f"{minutes / 60:.1f} h") if minutes else "",
        f"{speed:,.0f} tokens/s" if speed else "",
        "finished" if history.finished else "unfinished",
    )
    return ", ".join(filter(None, parts))


def _events(marks: Sequence[Record]) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for mark in marks:
        found[mark["event"].replace("_", " ")].append(f"{mark['step']:,}")
    return "; ".join(
        f"{event} at {', '.join(steps)}"
        if len(steps) <= MOST_STEPS
        else f"{event} {len(steps):,} times, last at {steps[-1]}"
        for event, steps in found.items()
    )
