"""Figures for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LINES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of a server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("heed_requests", "Answers.", ("path", "status"), registry=registry)
        self.seconds = Histogram(
            "heed_request_seconds", "From request to answer.", ("path",), buckets=SECONDS, registry=registry
        )
        self.active = Gauge("heed_active_requests", "Requests that are answered or wait.", registry=registry)
        self.lines = Counter("heed_lines", "Lines that were translated.", ("model",), registry=registry)
        self.tokens = Counter(
            "heed_tokens", "Tokens of translations and generated texts.", ("model",), registry=registry
        )
        self.batch = Histogram(
            "heed_batch_lines", "Lines that were translated together.", ("model",), buckets=LINES, registry=registry
        )
        self.waiting = Gauge("heed_waiting_lines", "Lines that wait for a batch.", ("model",), registry=registry)

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self._registry)
