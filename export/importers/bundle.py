"""From a bundle back to a network that can be trained: its weights, by their names in PyTorch."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper

from heed.export.onnx.blockwise import BITS, unpack_blocks
from heed.models.arrays import FloatArray
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.manifest import TranslationManifest
from heed.models.errors import ModelError
from heed.models.spec.config import LanguageModelConfig, ModelConfig, to_table
from heed.models.tokenizers.subwords import tokenizer_files
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.language_model import LanguageModel
from heed.transformer.model import Transformer
from heed.transformer.training.runs.checkpoint import Weights
from heed.transformer.training.runs.warm_start import Initial

Arrays = dict[str, npt.NDArray[Any]]


def from_bundle(path: Path) -> Initial:
    """The network of a bundle, with the weights that its precision has left.

    Raises:
        ModelError: The bundle is damaged.
    """
    bundle = Bundle(path)
    manifest = bundle.manifest
    arrays = read_arrays(path, [name for name in manifest.files if name.endswith(".onnx")])
    files = tuple(str((path / name).absolute()) for name in tokenizer_files(path))
    languages: dict[str, object] = {}
    if isinstance(manifest, TranslationManifest):
        languages = {"src_language": manifest.src_language, "tgt_language": manifest.tgt_language}
    weights = find_weights(arrays, manifest.network, manifest.precision, path)
    return Initial(manifest.kind, to_table(manifest.network), files, languages, weights, _shortlist(arrays))


def read_arrays(path: Path, graphs: list[str]) -> Arrays:
    """What the graphs keep in the file of weights, by name."""
    found: Arrays = {}
    for name in graphs:
        # onnx itself reads no file of weights that has another name, too (a hard link, as uv and conda install files).
        graph = onnx.load(path / name, load_external_data=False).graph
        found.update({each.name: _array(each, path) for each in graph.initializer})
    return found


def _array(tensor: onnx.TensorProto, directory: Path) -> npt.NDArray[Any]:
    """A tensor in a graph or in a file beside it; `Bundle` has seen that the file is one of the bundle's."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    if not where:
        return numpy_helper.to_array(tensor)
    kind, n_values = helper.tensor_dtype_to_np_dtype(tensor.data_type), math.prod(tensor.dims)
    values = np.fromfile(directory / where["location"], kind, n_values, offset=int(where.get("offset", 0)))
    if len(values) != n_values:
        raise ModelError(f"{directory / where['location']}: damaged: it ends within {tensor.name}; get the model again")
    return values.reshape(tensor.dims)


def _shortlist(arrays: Arrays) -> Shortlist | None:
    if "shortlist.likely" not in arrays:
        return None
    likely, always = arrays["shortlist.likely"], np.flatnonzero(arrays["shortlist.always"])
    return Shortlist(likely.astype(np.int32), always.astype(np.int32))


class _Stored:
    """Weights as the graphs have them: some under other names, and rounded.

    Args:
        arrays: What the graphs keep.
        config: Of the network.
        precision: Of the bundle.
    """

    def __init__(self, arrays: Arrays, config: ModelConfig | LanguageModelConfig, precision: str) -> None:
        self._arrays, self._config, self._precision = arrays, config, precision

    def find(self, name: str, shape: torch.Size) -> FloatArray | None:
        """A parameter by its name in PyTorch; None where there is none, because it is tied to another."""
        layer, _, part = name.rpartition(".self_attention.")
        if layer and isinstance(self._config, LanguageModelConfig) and not part.startswith("output"):
            return self._part(f"{layer}.self_attention.qkv", part)
        array = self._array(name, shape[-1])
        if array is not None and name.endswith("attention.query.weight"):
            return array * np.float32(self._config.d_head**0.5)  # which the graph has divided it by
        return array

    def _part(self, name: str, part: str) -> FloatArray | None:
        """Of queries, keys and values in one the part that is meant: "key.weight"."""
        which, _, kind = part.partition(".")
        config = self._config
        assert isinstance(config, LanguageModelConfig)
        whole = self._array(f"{name}.{kind}", config.d_model)
        sizes = np.cumsum([config.d_model, config.n_kv_heads * config.d_head])
        order = ("query", "key", "value")
        return None if whole is None else np.split(whole, sizes)[order.index(which)]

    def _array(self, name: str, columns: int) -> FloatArray | None:
        for key in (name, name.removesuffix(".weight")):
            if key in self._arrays:
                return self._arrays[key].astype(np.float32)
            turned = self._arrays.get(f"{key}.int8_columns")
            integers = self._arrays.get(f"{key}.{self._precision}") if turned is None else turned.T
            if integers is not None:
                scales = self._arrays[f"{key}.scale"]
                if integers.dtype == np.int8:
                    return integers * scales[:, None]
                return unpack_blocks(integers, scales, BITS[self._precision])[:, :columns]
        return None


def find_weights(arrays: Arrays, config: ModelConfig | LanguageModelConfig, precision: str, path: Path) -> Weights:
    """A network's weights in what its graphs keep; see `from_bundle`."""
    stored = _Stored(arrays, config, precision)
    with torch.device("meta"):  # for names and shapes alone
        network = LanguageModel(config) if isinstance(config, LanguageModelConfig) else Transformer(config)
    found = {name: stored.find(name, value.shape) for name, value in network.state_dict().items()}
    tied = {"tgt_embedding.weight", "projection.weight"}
    if missing := [name for name, array in found.items() if array is None and name not in tied]:
        raise ModelError(f"{path}: its graphs have no {missing[0]}; get the model again")
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in found.items() if array is not None}
