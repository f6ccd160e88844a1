"""Importing a bundle: its weights under their names in PyTorch, for further training."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper

from heed.export.onnx.blockwise import BITS, unpack_blocks
from heed.models.arrays import FloatArray
from heed.models.bundle import legacy as old_bundles
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.manifest import Manifest
from heed.models.errors import ModelError
from heed.models.spec.legacy import RENAMED
from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.models.spec.tables import to_table
from heed.models.tokenizers.files import model_files
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.training.runs.checkpoint import Weights
from heed.transformer.training.runs.import_record import ImportRecord
from heed.transformer.training.runs.warm_start import InitialNetwork, tokenizer_contents

Arrays = dict[str, npt.NDArray[Any]]
PACKED = ("query", "key", "value")  # in the order of the packed projection


def from_bundle(path: Path) -> InitialNetwork:
    """The network of a bundle, with weights as exact as its precision allows.

    Raises:
        ModelError: The bundle is damaged.
    """
    manifest = Bundle(path).manifest
    arrays = read_arrays(path, [name for name in manifest.files if name.endswith(".onnx")])
    languages: dict[str, object] = {"src_language": manifest.src_language, "tgt_language": manifest.tgt_language}
    # In format 2, a decoder-only network scaled the scores instead of the queries.
    scaled = manifest.format > old_bundles.FORMAT or manifest.network.encoder is not None
    stored = _Stored(arrays, manifest.network, manifest.precision, scaled=scaled)
    weights = find_weights(stored, path)
    network, languages = to_table(manifest.network), languages if manifest.network.encoder else {}
    if record := import_record(manifest):
        files = tokenizer_contents(path, record)
        return InitialNetwork(manifest.task, network, (), languages, weights, imported=record, files=files)
    names = tuple(str((path / name).absolute()) for name in model_files(path))
    return InitialNetwork(manifest.task, network, names, languages, weights, _shortlist(arrays))


def import_record(manifest: Manifest) -> ImportRecord | None:
    """What a run keeps of an imported model's bundle; None: the model is heed's own."""
    if manifest.conventions is None:
        return None
    return ImportRecord(
        conventions=manifest.conventions,
        decode=manifest.decode,
        origin=manifest.origin or "another toolkit's model",
        chat_template=manifest.chat_template,
    )


def read_arrays(path: Path, graphs: list[str]) -> Arrays:
    """The arrays of graphs in the file of weights, by name."""
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
    # Graphs of before have a flag for each token instead.
    always = arrays.get("shortlist.frequent", np.flatnonzero(arrays.get("shortlist.always", 0)))
    return Shortlist(arrays["shortlist.likely"].astype(np.int32), always.astype(np.int32))


class _Stored:
    """Weights as stored by the graphs: some under other names, packed and quantized.

    Args:
        arrays: The stored arrays.
        spec: The network's specification.
        precision: The bundle's precision.
        scaled: Whether queries include the scale of scores.
    """

    def __init__(self, arrays: Arrays, spec: NetworkSpec, precision: str, *, scaled: bool) -> None:
        self._arrays, self.spec, self._precision, self._scaled = arrays, spec, precision, scaled

    def find(self, name: str, shape: tuple[int, ...]) -> FloatArray | None:
        """A parameter by its name in PyTorch and its shape; None if missing."""
        array = self._array(name, shape[-1])
        if array is None:
            array = self._unpacked(name, shape)
        stack = self.spec.stacks.get(name.partition(".")[0])
        if array is None or stack is None or not self._scaled:
            return array
        query = "query_norm" if stack.attention.qk_norm else "query"
        scaled = re.search(rf"attention\.({query}\.|relative\.\w+_bias$)", name)
        return array / np.float32(stack.attention.score_scale) if scaled else array

    def _unpacked(self, name: str, shape: tuple[int, ...]) -> FloatArray | None:
        """A part of a packed projection: "….key.weight" of "….qkv.weight"."""
        layer, _, part = name.rpartition(".self_attention.")
        which, _, kind = part.partition(".")
        if not layer or which not in PACKED:
            return None
        whole = self._array(f"{layer}.self_attention.qkv.{kind}", shape[-1])
        attention = self.spec.stacks[name.partition(".")[0]].attention
        sizes = np.cumsum([attention.d_heads, attention.d_kv_heads])
        return None if whole is None else np.split(whole, sizes)[PACKED.index(which)]

    def _array(self, name: str, columns: int) -> FloatArray | None:
        old = [before + name.removeprefix(now) for before, now in RENAMED.items() if name.startswith(now)]
        keys = [key for each in (name, *old) for key in (each, each.removesuffix(".weight"))]
        return next((found for key in keys if (found := self._floats(key, columns)) is not None), None)

    def _floats(self, key: str, columns: int) -> FloatArray | None:
        if key in self._arrays:
            return self._arrays[key].astype(np.float32)
        turned = self._arrays.get(f"{key}.int8_columns")
        integers = self._arrays.get(f"{key}.{self._precision}") if turned is None else turned.T
        if integers is None:
            return None
        scales = self._arrays[f"{key}.scale"]
        if integers.dtype == np.int8:
            return integers * scales[:, None]
        return unpack_blocks(integers, scales, BITS[self._precision])[:, :columns]


def find_weights(stored: _Stored, path: Path) -> Weights:
    """A network's weights from the arrays of its graphs; see `from_bundle`."""
    shapes = parameters(stored.spec)
    found = {name: stored.find(name, shape) for name, shape in shapes.items()}
    wrong = [name for name, array in found.items() if array is None or array.shape != shapes[name]]
    if wrong:
        raise ModelError(f"{path}: its graphs lack {wrong[0]}; get the model again")
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in found.items()}
