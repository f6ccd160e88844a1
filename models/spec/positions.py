"""Position encodings: one of five forms."""

from typing import ClassVar

from heed.models.records import record
from heed.models.spec.checks import below_one, no_choice, refuse

LAYOUTS = ("interleaved", "halves")
SPACINGS = ("paper", "tensor2tensor")
SCALINGS = ("linear", "llama3", "yarn")


@record(frozen=True, kw_only=True)
class Sinusoidal:
    """Sinusoidal positions, added to the embeddings (section 3.5)."""

    kind: ClassVar[str] = "sinusoidal"

    layout: str = "interleaved"  # "interleaved": sine, cosine, sine, …, as in the paper; "halves": sines, then cosines
    spacing: str = "paper"  # frequencies 10000^(-2i/D); "tensor2tensor": 10000^(-i/(D/2 - 1)), the last 1/10000
    offset: int = 0  # position of the first token

    def __post_init__(self) -> None:
        wrong = no_choice("layout", self.layout, LAYOUTS) + no_choice("spacing", self.spacing, SPACINGS)
        refuse(wrong + _negative(self.offset))


@record(frozen=True, kw_only=True)
class Learned:
    """Learned positions: a vector for each, added to the embeddings."""

    kind: ClassVar[str] = "learned"

    n_positions: int = 1024  # maximum number of tokens
    offset: int = 0  # row of the first token: a table has n_positions + offset rows (BART: 2)

    def __post_init__(self) -> None:
        refuse(below_one(self, "n_positions") + _negative(self.offset))


@record(frozen=True, kw_only=True)
class RotaryScaling:
    """Scaling of rotary frequencies for longer texts than in pretraining."""

    method: str = (
        "linear"  # "linear": all divided by factor; "llama3": the low ones; "yarn": with a ramp over dimensions
    )
    factor: float = 1.0
    original_positions: int = 8192  # context length of pretraining, in tokens
    low_frequency_factor: float = 1.0  # llama3: wavelengths above original_positions / this are divided by factor
    high_frequency_factor: float = 4.0  # llama3: wavelengths below original_positions / this are kept
    beta_fast: float = 32.0  # yarn: frequencies with more rotations over the original context are kept
    beta_slow: float = 1.0  # yarn: frequencies with fewer rotations are divided by factor
    attention_factor: float | None = None  # yarn: factor of cosines and sines; None: 0.1 ln(factor) + 1

    def __post_init__(self) -> None:
        names = ("factor", "original_positions", "low_frequency_factor", "high_frequency_factor", "beta_slow")
        values = {name: getattr(self, name) for name in names}
        wrong = [f"{name} must be a number above 0, not {value!r}" for name, value in values.items() if not value > 0]
        refuse(no_choice("method", self.method, SCALINGS) + wrong)


@record(frozen=True, kw_only=True)
class Rotary:
    """Rotary positions: pairs of dimensions of each head are rotated (Su et al., 2021, arXiv 2104.09864)."""

    kind: ClassVar[str] = "rotary"

    n_positions: int = 2048  # maximum number of tokens
    base: float = 10000.0  # frequencies are base^(-2i/d)
    d_rotary: int | None = None  # number of leading dimensions of a head that are rotated; None: all
    interleaved: bool = False  # pair dimensions 2i and 2i + 1 instead of i and i + d/2
    scaling: RotaryScaling | None = None

    def __post_init__(self) -> None:
        wrong = below_one(self, "n_positions")
        if not self.base > 0:
            wrong.append(f"base must be a number above 0, not {self.base!r}")
        if self.d_rotary is not None and (self.d_rotary < 2 or self.d_rotary % 2):
            wrong.append(f"d_rotary must be an even number above 0, not {self.d_rotary!r}")
        refuse(wrong)


@record(frozen=True, kw_only=True)
class RelativeBuckets:
    """Relative positions: a bias for each head and bucket of distances, shared by all layers (T5; Raffel et al., 2020).

    Distances below half the buckets of a side have their own bucket; the others are logarithmic up to `max_distance`.
    An encoder uses half of the buckets for each side, a decoder uses all for the past.
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


@record(frozen=True, kw_only=True)
class RelativeSinusoids:
    """Relative positions: sinusoids of distances, which each layer of an encoder projects to keys (Transformer-XL).

    A score is (q + u)·k + (q + v)·r, with the key r of the distance between the tokens, and biases u and v for each
    head (Dai et al., 2019, arXiv 1901.02860).
    """

    kind: ClassVar[str] = "relative_sinusoids"

    # XLNet: the last token of a text, `<cls>`, is in a segment of its own. Between it and others, a score has a further
    # term, (q + w)·s.
    last_apart: bool = False


PositionSpec = Sinusoidal | Learned | Rotary | RelativeBuckets | RelativeSinusoids


def _negative(offset: int) -> list[str]:
    return [] if offset >= 0 else [f"offset must be at least 0, not {offset!r}"]
