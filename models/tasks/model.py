"""What all loaded models have in common."""

from types import TracebackType
from typing import Self

from heed.models.runtime.states import States


class Model:
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

    def __enter__(self) -> Self:
        """The model itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
