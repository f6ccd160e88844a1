"""The scales of a network's graphs, and what measures them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from heed.export.onnx.attention import Scales, can_stream
from heed.export.onnx.blockwise import BITS, is_blockwise
from heed.export.onnx.calibration.attention_scales import attention_scales
from heed.export.onnx.calibration.cache_scales import cache_scales
from heed.export.onnx.calibration.input_scales import input_scales
from heed.export.onnx.integer_attention import AttentionScales, fits_integers
from heed.models.tasks.scorer import ScoringInput
from heed.transformer.model import Transformer


class Calibration(NamedTuple):
    """The scales of a network's graphs."""

    caches: Scales = MappingProxyType({})  # of an integer KV cache; none: it holds floats
    inputs: Mapping[str, float] = MappingProxyType({})  # of what products read; those without one have a scale per row
    attention: Mapping[str, AttentionScales] = MappingProxyType({})  # in integers, by name; none: it is in floats


def calibrate(network: Transformer, precision: str, passages: Sequence[ScoringInput], bos_id: int) -> Calibration:
    """Measure a network that decodes on text; in floats there is nothing to measure.

    Args:
        network: The network.
        precision: Precision of matrix products.
        passages: Representative text.
        bos_id: The beginning token of outputs.
    """
    if precision not in BITS:
        return Calibration()
    if not is_blockwise(network.spec, precision):
        attention = attention_scales(network, passages, bos_id) if fits_integers(network.spec) else {}
        return Calibration(inputs=input_scales(network, passages, bos_id), attention=attention)
    if not can_stream(network.spec):
        return Calibration()
    return Calibration(cache_scales(network, [each.read(bos_id) for each in passages]))
