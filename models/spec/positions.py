"""How a network knows the position of a token: one of four forms."""

import dataclasses
from typing import ClassVar

from heed.models.spec.checks import below_one, no_choice, refuse

LAYOUTS = ("interleaved", "halves")
SPACINGS = ("paper", "tensor2tensor")
SCALINGS = ("linear", "llama3", "yarn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sinusoidal:
    """Sines and cosines added to the embeddings (section 3.5)."""

    kind: ClassVar[str] = "sinusoidal"

    layout: str = "interleaved"  # "interleaved": sine, cosine, sine, …, as in the paper; "halves": sines, then cosines
    spacing: str = "paper"  # rates 10000^(-2i/D); "tensor2tensor": 10000^(-i/(D/2 - 1)), so that the last is 1/10000
    offset: int = 0  # position of the first token

    def __post_init__(self) -> None:
        wrong = no_choice("layout", self.layout, LAYOUTS) + no_choice("spacing", self.spacing, SPACINGS)
        refuse(wrong + _negative(self.offset))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    """A vector for each position, added to the embeddings."""

    kind: ClassVar[str] = "learned"

    n_positions: int = 1024  # tokens that fit
    offset: int = 0  # row of the first token: a table has n_positions + offset rows (BART: 2)

    def __post_init__(self) -> None:
        refuse(below_one(self, "n_positions") + _negative(self.offset))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How rates of rotation are stretched for texts longer than those of the first training."""

    method: str = "linear"  # "linear": divided by factor; "llama3": the slow ones; "yarn": by a ramp over dimensions
    factor: float = 1.0
    original_positions: int = 8192  # tokens of the first training's texts
    low_frequency_factor: float = 1.0  # llama3: wavelengths above original_positions over it are divided by factor
    high_frequency_factor: float = 4.0  # llama3: wavelengths below original_positions over it stay
    beta_fast: float = 32.0  # yarn: rotations over the original text from which a rate stays
    beta_slow: float = 1.0  # yarn: rotations below which it is divided by factor
    attention_factor: float | None = None  # yarn: cosines and sines are times it; None: 0.1 ln(factor) + 1

    def __post_init__(self) -> None:
        names = ("factor", "original_positions", "low_frequency_factor", "high_frequency_factor", "beta_slow")
        values = {name: getattr(self, name) for name in names}
        wrong = [f"{name} must be a number above 0, not {value!r}" for name, value in values.items() if not value > 0]
        refuse(no_choice("method", self.method, SCALINGS) + wrong)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary:
    """Pairs of each head's numbers turned by their position (Su et al., 2021, arXiv 2104.09864)."""

    kind: ClassVar[str] = "rotary"

    n_positions: int = 2048  # tokens that fit
    base: float = 10000.0  # rates are base^(-2i/d)
    d_rotary: int | None = None  # first numbers of a head that turn; None: all
    interleaved: bool = False  # whether number 2i makes a pair with 2i + 1, and not i with i + d/2
    scaling: RotaryScaling | None = None

    def __post_init__(self) -> None:
        wrong = below_one(self, "n_positions")
        if not self.base > 0:
            wrong.append(f"base must be a number above 0, not {self.base!r}")
        if self.d_rotary is not None and (self.d_rotary < 2 or self.d_rotary % 2):
            wrong.append(f"d_rotary must be an even number above 0, not {self.d_rotary!r}")
        refuse(wrong)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelativeBuckets:
    """A bias for each head and bucket of distances, added to scores; all layers share it (Raffel et al., 2020, T5).

    Distances are exact below half the buckets of a side, then logarithmic up to `max_distance`. An encoder has half
    the buckets for each side, a decoder all for the past.
    """

    kind: ClassVar[str] = "relative"

    n_buckets: int = 32
    max_distance: int = 128  # tokens

    def __post_init__(self) -> None:
        half, wrong = self.n_buckets // 2, list[str]()
        if self.n_buckets < 4 or self.n_buckets % 2:
            wrong.append(f"n_buckets must be an even number of at least 4, not {self.n_buckets!r}")
        if self.max_distance <= half:
            wrong.append(f"max_distance must be above n_buckets / 2, {half}, not {self.max_distance!r}")
        refuse(wrong)


PositionSpec = Sinusoidal | Learned | Rotary | RelativeBuckets


def _negative(offset: int) -> list[str]:
    return [] if offset >= 0 else [f"offset must be at least 0, not {offset!r}"]
