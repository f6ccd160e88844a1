"""A bundle's network in ONNX Runtime, of every form."""

from heed.models.runtime.graphs import Graphs
from heed.models.runtime.state import OnnxState


class OnnxNetwork(Graphs):
    """A bundle's network; see `heed.models.runtime.protocol.Network`, and `Graphs` for its arguments."""

    def state(self) -> OnnxState:
        """See `heed.models.runtime.protocol.Network`."""
        return OnnxState(self)
