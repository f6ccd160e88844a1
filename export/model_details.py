"""Facts about a bundle that the run does not contain: name, licence, credits."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDetails:
    """Facts about a bundle that the run does not contain: name, licence, credits."""

    name: str
    licence: str = ""
    trained_on: str = ""
    source: str = ""  # of an imported model: where it was found
