"""Manifests as heed 0.1 wrote them, in format 2: one form for models that translate and one for models of text."""

from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec import legacy
from heed.models.spec.tables import defaults, to_table

FORMAT = 2
TASKS = {"encoder-decoder": "translate", "decoder": "generate"}  # by kind of network

Table = dict[str, object]


def modern(table: Table, where: str) -> Table:
    """A manifest of format 2 as one of today.

    Raises:
        ModelError: Its kind or its network cannot be.
    """
    found = {key: value for key, value in table.items() if key != "kind"}
    kind = str(table.get("kind"))
    if kind not in TASKS:
        raise ModelError(f"{where}: kind {kind!r}, and this heed knows {' and '.join(TASKS)}; get the model again")
    network, decode, parity = (table.get(name) for name in ("network", "decode", "parity"))
    if isinstance(network, dict):
        found["network"] = to_table(legacy.network_spec(network, f"{where}, network"))
    if isinstance(parity, dict):
        found["parity"] = {"texts" if key == "sentences" else key: value for key, value in parity.items()}
    found["decode"] = defaults(DecodeConfig) | (decode if isinstance(decode, dict) else {})
    return {"src_language": "", "tgt_language": ""} | found | {"task": TASKS[kind]}
