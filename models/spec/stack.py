"""StackSpec: the specification of a stack's layers, attention, feed-forward networks, norms and positions."""

from heed.models.records import record
from heed.models.spec.checks import below_one, no_choice, refuse
from heed.models.spec.positions import Learned, PositionSpec, Rotary, Sinusoidal

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")
NORMS = ("layer", "rms")
PLACEMENTS = ("after", "before")
RECURRENCES = ("ssru",)


@record(frozen=True, kw_only=True)
class AttentionSpec:
    """Multi-head attention (section 3.2)."""

    n_heads: int = 8  # h
    n_kv_heads: int = 8  # heads of keys and values, each shared by a group of query heads (arXiv 2305.13245)
    d_head: int = 64  # width of a head (d_k = d_v); n_heads · d_head need not be d_model
    biases: bool = False  # biases of the query, key and value projections
    output_bias: bool = False  # bias of the output projection
    scale: float | None = None  # factor of the scores; None: 1/√d_head
    qk_norm: bool = False  # RMS norm of each head's queries and keys, before rotation
    window: int | None = None  # a query of self-attention sees keys less than so many positions away; None: all
    soft_cap: float | None = None  # c in c · tanh(score / c); None: no soft cap

    def __post_init__(self) -> None:
        wrong = below_one(self, "n_heads", "n_kv_heads", "d_head", "window")
        if not wrong and self.n_heads % self.n_kv_heads:
            wrong.append(f"n_heads {self.n_heads!r} must be a multiple of n_kv_heads {self.n_kv_heads!r}")
        for name in ("scale", "soft_cap"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                wrong.append(f"{name} must be a number above 0, not {value!r}")
        refuse(wrong)

    @property
    def d_heads(self) -> int:
        """Total width of the query heads."""
        return self.n_heads * self.d_head

    @property
    def d_kv_heads(self) -> int:
        """Total width of the key heads, and of the value heads."""
        return self.n_kv_heads * self.d_head

    @property
    def score_scale(self) -> float:
        """The factor of the scores."""
        return self.d_head**-0.5 if self.scale is None else self.scale


@record(frozen=True, kw_only=True)
class FeedForwardSpec:
    """The position-wise feed-forward network (section 3.3)."""

    d_ff: int = 2048  # inner width
    activation: str = "relu"  # "gelu" is exact (erf), "gelu_tanh" is GPT-2's
    gated: bool = False  # multiply by the activation of a second projection (arXiv 2002.05202)
    biases: bool = True

    def __post_init__(self) -> None:
        wrong = below_one(self, "d_ff")
        refuse(wrong + no_choice("activation", self.activation, ACTIVATIONS))

    @property
    def rectifies(self) -> bool:
        """Whether its second projection reads what a ReLU puts out."""
        return self.activation == "relu" and not self.gated


@record(frozen=True, kw_only=True)
class NormSpec:
    """The normalization of a stack (section 3.1)."""

    kind: str = "layer"  # "layer" norm, or "rms" without mean and bias (arXiv 1910.07467)
    placement: str = "after"  # "after" each residual connection, as in the paper; "before" each sub-layer
    eps: float = 1e-5
    bias: bool = True  # of layer norm
    last: bool = False  # another norm after the last layer, usual with norms "before" sub-layers
    embedding: bool = False  # another norm after the embeddings

    def __post_init__(self) -> None:
        wrong = no_choice("kind", self.kind, NORMS) + no_choice("placement", self.placement, PLACEMENTS)
        if not 0 < self.eps < 1:
            wrong.append(f"eps must be a number above 0 and below 1, not {self.eps!r}")
        refuse(wrong)


@record(frozen=True, kw_only=True)
class StackSpec:
    """An encoder or a decoder; the defaults are those of the paper's base model (Table 3)."""

    vocab_size: int = 37000  # size of the input vocabulary
    n_layers: int = 6  # N
    attention: AttentionSpec = AttentionSpec()
    feed_forward: FeedForwardSpec = FeedForwardSpec()
    norm: NormSpec = NormSpec()
    positions: PositionSpec = Sinusoidal()
    # In place of a decoder's self-attention; "ssru": simple recurrent units (Kim et al., 2019). None: self-attention
    recurrence: str | None = None

    def __post_init__(self) -> None:
        wrong = below_one(self, "vocab_size", "n_layers")
        if self.recurrence is not None:
            wrong += no_choice("recurrence", self.recurrence, RECURRENCES)
            if self.attention.window is not None or not isinstance(self.positions, Sinusoidal | Learned):
                wrong.append("recurrence needs sinusoidal or learned positions, and attention without a window")
        if isinstance(self.positions, Rotary):
            d_head, d_rotary = self.attention.d_head, self.positions.d_rotary
            if d_head % 2:
                wrong.append(f"rotary positions need an even d_head, not {d_head!r}")
            if d_rotary is not None and d_rotary > d_head:
                wrong.append(f"d_rotary {d_rotary!r} must be at most d_head {d_head!r}")
        refuse(wrong)

    @property
    def n_positions(self) -> int | None:
        """Maximum number of tokens; None: no limit."""
        return getattr(self.positions, "n_positions", None)
