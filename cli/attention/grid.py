"""Attention on a terminal: a row of shaded cells for each word, and the words that it attends to most."""

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from heed.models.arrays import FloatArray
from heed.models.tasks.attention import AttentionMap

STEPS = (0.02, 0.08, 0.2, 0.4, 0.7)  # weights at which a shade begins
SHADES = {True: " ·░▒▓█", False: " .:+#@"}  # with the characters of Unicode, and without
STYLES = ("", "dim", "", "cyan", "cyan", "bold cyan")
LABEL, HEAD = 14, 10  # widest label of a row, in columns, and highest label of a column, in lines
WIDEST = 3  # columns of a cell
BEST = 22  # columns for the words that a row attends to most
NAMED = 0.1  # weight from which they are named


def grid(queries: Sequence[str], keys: Sequence[str], weights: FloatArray, width: int, *, unicode: bool) -> list[Text]:
    """The rows of the picture, at most `width` columns wide; without cells if they do not fit.

    Args:
        queries: Labels of the rows.
        keys: Labels of the columns.
        weights: (queries, keys).
        width: In columns.
        unicode: Whether shades may be characters beyond ASCII.
    """
    label = min(LABEL, max(cell_len(each) for each in queries))
    cell = min(WIDEST, (width - label - 2 - BEST) // len(keys)) or (width - label - 2) // len(keys)
    shown = cell > 0
    named = not shown or label + 2 + cell * len(keys) + BEST <= width
    lines = _header(keys, label, cell) if shown else []
    for query, row in zip(queries, weights, strict=True):
        line = Text(f"{_cut(query, label)}  ")
        for level in np.searchsorted(STEPS, row, side="right").tolist() if shown else ():
            line.append(SHADES[unicode][level] * max(1, cell - 1) + " " * (cell > 1), STYLES[level])
        if named:
            line.append(("  " if shown else "") + _best(keys, row, width - cell_len(line.plain) - 2), "dim")
        line.rstrip()
        lines.append(line)
    return lines


def legend(*, unicode: bool) -> str:
    """What the shades stand for."""
    shades = SHADES[unicode][1:]
    return "  ".join(f"{shade} {step:.0%}" for shade, step in zip(shades, STEPS, strict=True)) + " or more"


def chosen(found: AttentionMap, layer: int | None, head: int | None) -> FloatArray:
    """The weights of a layer and a head, counted from 0; None: the mean over all."""
    layers = found.weights if layer is None else found.weights[layer : layer + 1]
    heads = layers if head is None else layers[:, head : head + 1]
    mean: FloatArray = heads.mean(axis=(0, 1))
    return mean


def _header(keys: Sequence[str], label: int, cell: int) -> list[Text]:
    """The words of the columns, written downwards."""
    words = [key[:HEAD] for key in keys]
    height = max(map(len, words))
    lines = []
    for row in range(height):
        letters = (word[row - height + len(word)] if row >= height - len(word) else " " for word in words)
        lines.append(Text(f"{'':{label}}  " + "".join(set_cell_size(letter, cell) for letter in letters)))
        lines[-1].rstrip()
    return lines


def _best(keys: Sequence[str], row: FloatArray, room: int) -> str:
    """The words that a row attends to most, as far as there is room."""
    found = ""
    for key in np.argsort(-row, kind="stable")[: 3 if room > BEST else 2].tolist():
        if row[key] < NAMED:
            break
        more = f"{', ' * bool(found)}{keys[key]} {row[key]:.0%}"
        if cell_len(found + more) > room:
            break
        found += more
    return found


def _cut(text: str, width: int) -> str:
    """A label of exactly this width."""
    return set_cell_size(text, width)
