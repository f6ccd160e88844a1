"""The configuration of a network, the presets, and how configurations are read from tables."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from heed.models.errors import ModelError

TRANSLATION_PRESETS = ("tiny", "small", "base", "big")
TEXT_PRESETS = ("gpt-tiny", "gpt2", "modern-small")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An encoder-decoder Transformer; the defaults are the paper's base model (Table 3)."""

    n_layers: int = 6  # layers in the encoder, and as many in the decoder (N)
    d_model: int = 512  # width
    d_ff: int = 2048  # inner width of the feed-forward sub-layer
    n_heads: int = 8  # attention heads (h)
    dropout: float = 0.1  # share of activations dropped in training (P_drop)
    norm: str = "post"  # layer norm "post": after each residual, as in the paper; "pre": before
    tied_embeddings: bool = True  # one matrix for source, target and output (section 3.4)
    src_vocab_size: int = 37000  # pieces
    tgt_vocab_size: int = 37000  # pieces

    def __post_init__(self) -> None:
        sizes = ("n_layers", "d_model", "d_ff", "n_heads", "src_vocab_size", "tgt_vocab_size")
        wrong = [f"{name} must be at least 1, not {getattr(self, name)!r}" for name in sizes if getattr(self, name) < 1]
        if not wrong and self.d_model % (2 * self.n_heads):
            # Even, because sines and cosines share the width (section 3.5).
            wrong.append(f"d_model {self.d_model!r} must be a multiple of 2 × n_heads {self.n_heads!r}")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout must be at least 0 and below 1, not {self.dropout!r}")
        if self.norm not in ("post", "pre"):
            wrong.append(f"norm must be 'post' or 'pre', not {self.norm!r}")
        if self.tied_embeddings and self.src_vocab_size != self.tgt_vocab_size:
            wrong.append(
                f"tied_embeddings needs one vocabulary, not src_vocab_size {self.src_vocab_size!r} "
                f"and tgt_vocab_size {self.tgt_vocab_size!r}"
            )
        if wrong:
            raise ModelError("; ".join(wrong))

    @property
    def d_head(self) -> int:
        """Width of one head (d_k = d_v in the paper)."""
        return self.d_model // self.n_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """A decoder-only Transformer; the defaults are GPT-2's smallest (Radford et al., 2019, Table 2)."""

    n_layers: int = 12
    d_model: int = 768  # width
    d_ff: int = 3072  # inner width of the feed-forward sub-layer
    n_heads: int = 12  # attention heads
    n_kv_heads: int = 12  # heads of keys and values, each shared by a group of query heads (arXiv 2305.13245)
    dropout: float = 0.1  # share of activations dropped in training
    positions: str = "learned"  # "learned": a vector each; "rotary": queries and keys are turned (arXiv 2104.09864)
    norm: str = "layer"  # "layer" norm, or "rms": without mean and shift (arXiv 1910.07467); before each sub-layer
    activation: str = "gelu"  # of the feed-forward sub-layer: "gelu", or "swiglu", which is gated (arXiv 2002.05202)
    biases: bool = True  # whether projections and feed-forward have them
    context: int = 1024  # tokens that it can see at a time, the beginning included
    vocab_size: int = 50257  # pieces

    def __post_init__(self) -> None:
        sizes = ("n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "context", "vocab_size")
        wrong = [f"{name} must be at least 1, not {getattr(self, name)!r}" for name in sizes if getattr(self, name) < 1]
        if not wrong and self.d_model % (2 * self.n_heads):  # even, because a rotation turns pairs
            wrong.append(f"d_model {self.d_model!r} must be a multiple of 2 × n_heads {self.n_heads!r}")
        if not wrong and self.n_heads % self.n_kv_heads:
            wrong.append(f"n_heads {self.n_heads!r} must be a multiple of n_kv_heads {self.n_kv_heads!r}")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout must be at least 0 and below 1, not {self.dropout!r}")
        choices = {"positions": ("learned", "rotary"), "norm": ("layer", "rms"), "activation": ("gelu", "swiglu")}
        for name, (one, other) in choices.items():
            if getattr(self, name) not in (one, other):
                wrong.append(f"{name} must be {one!r} or {other!r}, not {getattr(self, name)!r}")
        if wrong:
            raise ModelError("; ".join(wrong))

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads


class DataclassInstance(typing.Protocol):
    """Any dataclass."""

    __dataclass_fields__: typing.ClassVar[dict[str, dataclasses.Field[object]]]


Config = typing.TypeVar("Config", bound=DataclassInstance)


def from_table(kind: type[Config], table: Mapping[str, object], where: str) -> Config:
    """Make a configuration from a table of a TOML or JSON file.

    Keys may be absent only where a field may be None.

    Raises:
        ModelError: Unknown or missing keys or values of a wrong type, all of them in one message.
    """
    hints = typing.get_type_hints(kind)
    optional = {name for name, hint in hints.items() if type(None) in typing.get_args(hint)}
    wrong = [f"unknown key {key!r}" for key in table if key not in hints]
    wrong += [f"missing key {key!r}" for key in hints if key not in table and key not in optional]
    wrong += [
        f"{key} must be {_words(hints[key])}, not {value!r}"
        for key, value in table.items()
        if key in hints and not _fits(hints[key], value)
    ]
    if wrong:
        raise ModelError(f"{where}: {'; '.join(wrong)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    try:
        return kind(**values)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def defaults(kind: type[DataclassInstance]) -> dict[str, object]:
    """The table of the fields that have a default other than None."""
    values = {field.name: field.default for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if value is not None and value is not dataclasses.MISSING}


def to_table(config: DataclassInstance) -> dict[str, object]:
    """The table that `from_table` reads back; fields that are None are left out."""
    table = dataclasses.asdict(config)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in table.items() if value is not None
    }


def preset(name: str) -> dict[str, dict[str, object]]:
    """The tables `model` and `train` of a preset; `train` holds what differs from the defaults."""
    import tomllib  # not above, for what translates has no use for it

    return tomllib.loads(Path(__file__).with_name("presets").joinpath(f"{name}.toml").read_text("utf-8"))


def _fits(hint: object, value: object) -> bool:
    """Whether a value read from TOML or JSON can stand in a field of this type."""
    origin = typing.get_origin(hint)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(typing.get_args(hint)[0], item) for item in value)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(option, value) for option in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, typing.cast("type", origin or hint))


def _words(hint: object) -> str:
    """A type as a user would say it."""
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is tuple:
        return "a list"
    return names.get(typing.cast("type", options[0] if options else hint), str(hint))
