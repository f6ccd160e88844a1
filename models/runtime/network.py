"""A bundle's network in ONNX Runtime, of every form."""

from collections.abc import Collection
from pathlib import Path

from heed.models.runtime.graphs import Graphs
from heed.models.runtime.state import OnnxState
from heed.models.spec.network import NetworkSpec


class OnnxNetwork:
    """A bundle's network; see `heed.models.runtime.protocol.Network`.

    Args:
        directory: The bundle's.
        spec: The network's description.
        files: The names of the bundle's files; no other graph is opened.
        device: "cpu" or "cuda".
        threads: Processor threads.
        shortlist: Decode over the tokens alone that a batch's sources are likely to need; the bundle must know them.

    Raises:
        ModelError: The device cannot be used, ONNX Runtime refuses a graph, or graphs and description do not fit.
    """

    def __init__(
        self,
        directory: Path,
        spec: NetworkSpec,
        files: Collection[str],
        *,
        device: str,
        threads: int,
        shortlist: bool = False,
    ) -> None:
        self.graphs = Graphs(directory, spec, files, device=device, threads=threads, shortlist=shortlist)

    @property
    def spec(self) -> NetworkSpec:
        """See `heed.models.runtime.protocol.Network`."""
        return self.graphs.spec

    @property
    def context(self) -> int | None:
        """See `heed.models.runtime.protocol.Network`."""
        return self.graphs.context

    def state(self) -> OnnxState:
        """See `heed.models.runtime.protocol.Network`."""
        return OnnxState(self.graphs)
