"""A bundle's network in ONNX Runtime, of every form."""

from heed.models.runtime.graphs import Graphs
from heed.models.runtime.state import OnnxState


class OnnxNetwork(Graphs):
    """A bundle's network; see `heed.models.runtime.protocol.Network`, and `Graphs` for its arguments."""

    _is_lent = False  # whether a state has these sessions

    def state(self) -> OnnxState:
        """See `heed.models.runtime.protocol.Network`."""
        graphs, self._is_lent = self.for_another_thread() if self._is_lent else self, True
        return OnnxState(graphs)
