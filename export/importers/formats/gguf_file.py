"""GGUF files of networks of Llama's form, read as a checkpoint of Hugging Face would have them."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heed.export.importers.formats import gguf_header
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import StoredTensor
from heed.models.arrays import FloatArray
from heed.models.errors import ModelError

if TYPE_CHECKING:
    import gguf

# What a file's reader raises where the file is cut or crafted.
DAMAGES = (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError, MemoryError, AttributeError)
ARCHITECTURES = ("llama", "qwen2", "qwen3")
WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
KEYS = {  # of a configuration: what they are called behind the architecture's name
    "num_hidden_layers": "block_count",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
}
FREQUENCIES = "rope_freqs.weight"  # what Llama 3's scaling divides the rates by
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ORIGINAL = 8192  # tokens of the texts that Llama 3 was first trained on


class GgufFile:
    """A .gguf file.

    Args:
        path: The file.

    Raises:
        ModelError: It is damaged, of another architecture, or the library `gguf` is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import gguf  # an extra
        except ImportError:
            raise ModelError(f"{path}: needs the library gguf: pip install 'heed[import]'") from None
        gguf_header.check(path)
        try:
            self._reader = gguf.GGUFReader(path)
            self.metadata = {key: field.contents() for key, field in self._reader.fields.items()}
        except DAMAGES as error:
            raise ModelError(f"{path}: no whole GGUF file ({error}); get it again") from None
        self.architecture = str(self.metadata.get("general.architecture"))
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ModelError(f"{path}: architecture {self.architecture!r}, and heed imports {known}")
        if self.metadata.get("split.count", 1) not in (0, 1):
            raise ModelError(f"{path}: one of several parts; merge them first: llama-gguf-split --merge")

    def settings(self) -> Settings:
        """Its configuration, by the keys of transformers.

        Raises:
            ModelError: It has keys that heed does not know.
        """
        prefix = f"{self.architecture}."
        own = {key.removeprefix(prefix): value for key, value in self.metadata.items() if key.startswith(prefix)}
        table: dict[str, object] = {key: own.pop(name) for key, name in KEYS.items() if name in own}
        embedding = next((each for each in self._reader.tensors if each.name == "token_embd.weight"), None)
        if embedding is None or len(embedding.shape) < 2:
            raise ModelError(f"{self.path}: has no tensor token_embd.weight; get it again")
        table["vocab_size"] = int(embedding.shape[1])
        d_head = _int(table.get("head_dim")) or _quotient(table.get("hidden_size"), table.get("num_attention_heads"))
        for name, expected in (
            ("vocab_size", None),
            ("rope.dimension_count", d_head),
            ("attention.value_length", d_head),
        ):
            value = own.pop(name, expected)
            if expected is not None and value != expected:
                raise ModelError(f"{self.path}: {prefix}{name} is {value!r}, and heed can run {expected!r} alone")
        if scaling := self._scaling(own, d_head or 0, table.get("rope_theta", 10000.0)):
            table["rope_parameters"] = scaling
        if own:
            raise ModelError(f"{self.path}: heed does not know {', '.join(prefix + key for key in own)}")
        return Settings(table, str(self.path))

    @property
    def family(self) -> str:
        """What transformers calls the form: a Llama with a window is a Mistral."""
        windowed = f"{self.architecture}.attention.sliding_window" in self.metadata
        return "mistral" if self.architecture == "llama" and windowed else self.architecture

    def tensors(self) -> dict[str, StoredTensor]:
        """Its tensors, by the names that transformers has for them."""
        found = {}
        for tensor in self._reader.tensors:
            if tensor.name != FREQUENCIES:
                shape = tuple(int(size) for size in reversed(tensor.shape))
                found[self._name(tensor.name)] = StoredTensor(shape, partial(self._read, tensor))
        return found

    def _name(self, name: str) -> str:
        if name in WHOLE:
            return WHOLE[name]
        found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
        if found is None or found[2] not in PARTS:
            raise ModelError(f"{self.path}: heed has no use for the tensor {name}, so it is of another network")
        return f"model.layers.{found[1]}.{PARTS[found[2]]}.{found[3]}"

    def _read(self, tensor: "gguf.ReaderTensor") -> FloatArray:
        import gguf

        try:
            array = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            return self._order(tensor.name)(array)
        except (NotImplementedError, *DAMAGES) as error:
            raise ModelError(f"{self.path}: {tensor.name} cannot be read ({error})") from None

    def _order(self, name: str) -> Callable[[FloatArray], FloatArray]:
        """What puts rows in transformers' order: GGUF's `llama` has those of queries and keys in pairs."""
        if self.architecture != "llama" or not re.search(r"\.attn_[qk]\.", name):
            return np.asarray
        heads = "head_count" if "attn_q" in name else "head_count_kv"
        n_heads = self.metadata.get(f"llama.attention.{heads}", self.metadata.get("llama.attention.head_count"))
        return partial(halves, n_heads=_int(n_heads) or 1)

    def _scaling(self, own: dict[str, object], d_head: int, base: object) -> dict[str, object]:
        """How rates of rotation are scaled: by keys, or by a tensor of divisors."""
        kind = own.pop("rope.scaling.type", "none")
        factor, original = own.pop("rope.scaling.factor", None), own.pop("rope.scaling.original_context_length", None)
        own.pop("rope.scaling.finetuned", None)
        divisors = next((each for each in self._reader.tensors if each.name == FREQUENCIES), None)
        if divisors is not None and isinstance(base, float):
            return _llama3(self._read(divisors), d_head, base, self.path) | {"rope_theta": base}
        if kind == "none" or factor is None:
            return {}
        return {"rope_type": kind, "factor": factor, "rope_theta": base} | (
            {"original_max_position_embeddings": original} if kind == "yarn" and original else {}
        )


def halves(array: FloatArray, n_heads: int) -> FloatArray:
    """Rows of each head as transformers has them, i and i + K/2 a pair, where i and i + 1 were."""
    per_head = array.reshape(n_heads, -1, 2, *array.shape[1:])
    return per_head.swapaxes(1, 2).reshape(array.shape)


def _llama3(divisors: FloatArray, d_head: int, base: float, path: Path) -> dict[str, object]:
    """The settings of Llama 3's scaling that divide rates by given divisors.

    Raises:
        ModelError: None do.
    """
    factor = float(divisors.max())
    wavelengths = 2 * np.pi * base ** (np.arange(0, d_head, 2) / max(d_head, 1))
    smooth = np.clip((ORIGINAL / wavelengths - 1.0) / 3.0, 0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise ModelError(f"{path}: {FREQUENCIES} is no scaling of Llama 3, and heed knows no other")
    return LLAMA3 | {"factor": factor, "original_max_position_embeddings": ORIGINAL}


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _quotient(width: object, count: object) -> int | None:
    if isinstance(width, int) and isinstance(count, int) and count > 0:
        return width // count
    return None
