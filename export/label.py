"""What a bundle says of itself that no file of the run does."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """What a bundle says of itself that no file of the run does."""

    name: str
    licence: str = ""
    trained_on: str = ""
