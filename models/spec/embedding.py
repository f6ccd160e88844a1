"""EmbeddingSpec: how an encoder's states become one vector of a text."""

from heed.models.records import record
from heed.models.spec.checks import below_one, no_choice, refuse

POOLINGS = ("mean", "first", "last", "max")


@record(frozen=True, kw_only=True)
class EmbeddingSpec:
    """Pooling and normalization, as in sentence-transformers (Reimers and Gurevych, 2019, arXiv 1908.10084)."""

    pooling: str = "mean"  # of the states of all tokens, special ones too; or the state of the first or the last
    normalize: bool = False  # scale vectors to length 1
    max_tokens: int | None = None  # longer texts are cut; None: at the network's limit

    def __post_init__(self) -> None:
        refuse(no_choice("pooling", self.pooling, POOLINGS) + below_one(self, "max_tokens"))
