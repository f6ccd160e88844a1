"""What a model can be for: a dictionary of tasks, each by the name that manifests and commands have for it."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heed.models.bundle.bundle import Bundle
    from heed.models.runtime.network import OnnxNetwork


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a model is for."""

    does: str  # what such a model does, in words
    example: str  # what follows `heed`, the task and a model on a command line
    try_out: Callable[["Bundle", str], "OnnxNetwork"]  # takes a step on a device; returns the network it was taken with


def _translate(bundle: "Bundle", device: str) -> "OnnxNetwork":
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.translator import Translator

    network = bundle.network(device=device, threads=1, shortlist=bundle.has_shortlist)
    Translator(network, *bundle.tokenizers()).translate(["."], DecodeConfig(max_length=1))
    return network


def _generate(bundle: "Bundle", device: str) -> "OnnxNetwork":
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generator

    network = bundle.network(device=device, threads=1)
    generator = Generator(network, bundle.text_tokenizer())
    for n in (1, 2):  # by the graph of one text, and by that of several
        generator.generate([""], SampleConfig(max_tokens=1, n=n))
    return network


TASKS = {
    "translate": Task(does="translates lines of text", example="", try_out=_translate),
    "generate": Task(does="continues a text", example='"Once upon a time"', try_out=_generate),
}
