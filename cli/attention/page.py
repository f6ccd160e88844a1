"""A self-contained page of HTML on which a person explores the attention of all layers and heads."""

import base64
import json
import zlib
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from heed.models.tasks.attention import SIDES, Attention

STEPS = 255  # weights are bytes, from 0 to 1


def page(found: Attention, name: str) -> str:
    """The page of a text that the model of this name reads."""
    template = Template(resources.files("heed.cli.attention").joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        title=escape(next(iter(found.texts.values()))),
        name=escape(name),
        data=json.dumps(_data(found), ensure_ascii=False).replace("<", "\\u003c"),  # a word must not end the script
        weights=_packed(found),
    )


def _data(found: Attention) -> dict[str, Any]:
    """Tokens and words of each side, and the sizes of each kind of attention, for the page's script."""
    return {
        "sides": {
            side: {"tokens": each.tokens, "words": each.words, "wordOf": each.word_of}
            for side, each in found.sides.items()
        },
        "kinds": {
            kind: {"queries": SIDES[kind][0], "keys": SIDES[kind][1], "layers": len(each), "heads": each.shape[1]}
            for kind, each in found.weights.items()
        },
    }


def _packed(found: Attention) -> str:
    """The weights of tokens, kind by kind, rounded to bytes, compressed, in base 64."""
    parts = [np.rint(each * STEPS).clip(0, STEPS).astype(np.uint8).tobytes() for each in found.weights.values()]
    return base64.b64encode(zlib.compress(b"".join(parts), 9)).decode()
