"""Tasks of models, by their names in manifests and commands."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from heed.models.records import record

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from heed.models.bundle.bundle import Bundle


@record(frozen=True, kw_only=True)
class Task:
    """A task of models."""

    does: str  # description of what such a model does
    example: str  # further arguments of an example command
    try_out: Callable[["Bundle", str], "dict[str, InferenceSession]"]  # runs one step on a device; returns the graphs


def _translate(bundle: "Bundle", device: str) -> "dict[str, InferenceSession]":
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.translation.translator import Translator

    network = bundle.network(device=device, threads=1, shortlist=bundle.has_shortlist)
    Translator(network, *bundle.tokenizers()).translate(["."], DecodeConfig(max_length=1))
    return network.sessions


def _generate(bundle: "Bundle", device: str) -> "dict[str, InferenceSession]":
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generator

    network = bundle.network(device=device, threads=1)
    generator = Generator(network, bundle.text_tokenizer())
    for n in (1, 2):  # with the graph for one text, and with that for several
        generator.generate([""], SampleConfig(max_tokens=1, n=n))
    return network.sessions


def _fill(bundle: "Bundle", device: str) -> "dict[str, InferenceSession]":
    from heed.models.tasks.filler import Filler

    encoder = bundle.encoder(device=device, threads=1)
    Filler(encoder, bundle.reader()).fill(["[MASK]"])
    return encoder.sessions


def _embed(bundle: "Bundle", device: str) -> "dict[str, InferenceSession]":
    from heed.models.spec.embedding import EmbeddingSpec
    from heed.models.tasks.embedder import Embedder

    encoder = bundle.encoder(device=device, threads=1)
    Embedder(encoder, bundle.reader(), EmbeddingSpec()).embed(["."])
    return encoder.sessions


TASKS = {
    "translate": Task(does="translates lines of text", example="", try_out=_translate),
    "generate": Task(does="continues a text", example='"Once upon a time"', try_out=_generate),
    "fill": Task(does="fills masks in a text", example='"Paris is the [MASK] of France."', try_out=_fill),
    "embed": Task(does="turns texts into vectors", example="-i lines.txt", try_out=_embed),
}
