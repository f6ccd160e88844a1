"""Reading network tables of heed 0.1: flat tables, one form for each of two kinds of network."""

from collections.abc import Mapping

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned, Rotary
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec

Table = Mapping[str, object]
TRANSLATION = (
    "n_layers d_model d_ff n_heads dropout norm tied_embeddings src_vocab_size tgt_vocab_size".split()  # noqa: SIM905
)
TEXT = (
    "n_layers d_model d_ff n_heads n_kv_heads dropout positions norm activation biases context vocab_size".split()  # noqa: SIM905
)
# Old prefixes of a language model's parameters, which is now the decoder of a network.
RENAMED = {
    "embedding.": "tgt_embedding.",
    "position_embedding.": "decoder.positions.",
    "layers.": "decoder.layers.",
    "norm.": "decoder.norm.",
}


def is_legacy(table: Table) -> bool:
    """Whether a network's table is from 0.1."""
    return "n_layers" in table


def network_spec(table: Table, where: str) -> NetworkSpec:
    """The network of a table of 0.1.

    Raises:
        ModelError: Keys are unknown or missing, or a value is invalid.
    """
    names, read = (TEXT, _language_model) if "vocab_size" in table else (TRANSLATION, _translator)
    wrong = [f"unknown key {key!r}" for key in table if key not in names]
    wrong += [f"missing key {key!r}" for key in names if key not in table]
    if wrong:
        raise ModelError(f"{where}: {'; '.join(wrong)}")
    try:
        return read(table)
    except (ModelError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{where}: {error}") from None


def parameter_name(name: str) -> str:
    """The present name of a parameter of a language model of 0.1."""
    old = next((old for old in RENAMED if name.startswith(old)), "")
    return RENAMED.get(old, "") + name.removeprefix(old)


def _translator(table: Table) -> NetworkSpec:
    numbers = {name: int(table[name]) for name in TRANSLATION if name.startswith(("n_", "d_")) or "size" in name}  # type: ignore[call-overload]
    before, tied = table["norm"] == "pre", bool(table["tied_embeddings"])
    n_heads, d_model = numbers["n_heads"], numbers["d_model"]
    encoder, decoder = (
        StackSpec(
            vocab_size=numbers[f"{side}_vocab_size"],
            n_layers=numbers["n_layers"],
            attention=AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, d_head=d_model // n_heads),
            feed_forward=FeedForwardSpec(d_ff=numbers["d_ff"]),
            norm=NormSpec(placement="before" if before else "after", last=before),
        )
        for side in ("src", "tgt")
    )
    return NetworkSpec(
        d_model=d_model,
        encoder=encoder,
        decoder=decoder,
        shared_embedding=tied,
        tied_output=tied,
        dropout=float(table["dropout"]),  # type: ignore[arg-type]
    )


def _language_model(table: Table) -> NetworkSpec:
    names = (name for name in TEXT if name.startswith(("n_", "d_")) or name in ("context", "vocab_size"))
    numbers = {name: int(table[name]) for name in names}  # type: ignore[call-overload]
    biases, n_heads, d_model = bool(table["biases"]), numbers["n_heads"], numbers["d_model"]
    rotary, gated = table["positions"] == "rotary", table["activation"] == "swiglu"
    decoder = StackSpec(
        vocab_size=numbers["vocab_size"],
        n_layers=numbers["n_layers"],
        attention=AttentionSpec(
            n_heads=n_heads,
            n_kv_heads=numbers["n_kv_heads"],
            d_head=d_model // n_heads,
            biases=biases,
            output_bias=biases,
        ),
        feed_forward=FeedForwardSpec(
            d_ff=numbers["d_ff"], activation="silu" if gated else "gelu_tanh", gated=gated, biases=biases
        ),
        norm=NormSpec(kind=str(table["norm"]), placement="before", bias=biases, last=True),
        positions=(Rotary if rotary else Learned)(n_positions=numbers["context"]),
    )
    return NetworkSpec(
        d_model=d_model,
        encoder=None,
        decoder=decoder,
        scale_embedding=False,
        shared_embedding=False,
        dropout=float(table["dropout"]),  # type: ignore[arg-type]
    )
