"""What all loaded models have in common."""

from heed.models.runtime.states import States
from heed.models.system.closable import Closable


class Model(Closable):
    """A loaded model. Several threads may use it at once, and forked processes may go on using it.

    `close`, or the end of a `with` block, frees its memory; then every use raises a `ModelError`.

    Args:
        states: All its decoding states.
    """

    def __init__(self, *states: States) -> None:
        self._every_states = states

    def close(self) -> None:
        """Free the memory of the model; what is being computed in other threads is completed."""
        for states in self._every_states:
            states.close()
