"""Reading manifests of heed 0.1 (format 2), which had one form for translation models and one for language models."""

from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec import legacy
from heed.models.spec.tables import defaults, to_table

FORMAT = 2
TASKS = {"encoder-decoder": "translate", "decoder": "generate"}  # by kind of network

Table = dict[str, object]


def modern(table: Table, where: str) -> Table:
    """Convert a manifest of format 2 to the present format.

    Raises:
        ModelError: Its kind or its network is unknown.
    """
    found = {key: value for key, value in table.items() if key != "kind"}
    kind = str(table.get("kind"))
    if kind not in TASKS:
        raise ModelError(f"{where}: kind {kind!r}, but this heed knows {' and '.join(TASKS)}; get the model again")
    network, decode, parity = (table.get(name) for name in ("network", "decode", "parity"))
    if isinstance(network, dict):
        found["network"] = to_table(legacy.network_spec(network, f"{where}, network"))
    if isinstance(parity, dict):
        found["parity"] = {"texts" if key == "sentences" else key: value for key, value in parity.items()}
    found["decode"] = defaults(DecodeConfig) | (decode if isinstance(decode, dict) else {})
    return {"src_language": "", "tgt_language": ""} | found | {"task": TASKS[kind]}
