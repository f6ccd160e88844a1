"""What a server accepts."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of each request, and of all together; see the options of `heed serve`."""

    body: int = 1 << 20  # bytes
    lines: int = 1000  # that a request may have translated or embedded
    tokens: int = 4096  # that a request may have generated, in all its texts together
    requests: int = 512  # answered or waiting at a time
    streams: int = 4  # requests for which text is generated at a time, by each model; the others wait
    seconds: float = 60.0  # from the first byte of a request to the last one of its answer
