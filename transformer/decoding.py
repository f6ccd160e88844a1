"""The PyTorch network as the search sees it: numpy in, the best candidates out."""

import numpy as np
import torch
from torch import Tensor

from heed.models.search import BoolArray, FloatArray, IntArray
from heed.transformer.model import DecoderState, Transformer


class TorchState:
    """Sources being decoded by a PyTorch network; see `heed.models.search.State`."""

    def __init__(self, network: Transformer) -> None:
        self._network = network
        self._device = network.projection.weight.device
        self._state: DecoderState | None = None

    @torch.inference_mode()
    def read(self, src: IntArray, src_mask: BoolArray) -> None:
        """See `heed.models.search.State`."""
        self._state = self._network.start(self._tensor(src), self._tensor(src_mask)[:, None, None])

    @torch.inference_mode()
    def step(
        self, tokens: IntArray, position: int, slots: IntArray, mask: BoolArray, top: int
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.search.State`."""
        assert self._state is not None, "a batch is read before the first step"
        logits = self._network.decode(
            self._tensor(tokens),
            torch.tensor([position], device=self._device),
            self._tensor(mask)[:, None],  # (B, 1, W, C)
            self._state,
            self._tensor(slots),
        )
        log_probs, ids = logits.float().log_softmax(-1).topk(min(top, logits.shape[-1]), dim=-1)
        return log_probs.cpu().numpy(), ids.cpu().numpy()

    @torch.inference_mode()
    def keep(self, rows: IntArray) -> None:
        """See `heed.models.search.State`."""
        if self._state is not None:
            self._state.keep(self._tensor(rows))

    def _tensor(self, array: IntArray | BoolArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class TorchNetwork:
    """A PyTorch network that `heed.models.search.search` can decode with."""

    def __init__(self, network: Transformer) -> None:
        self._network = network

    def state(self) -> TorchState:
        """See `heed.models.search.Network`."""
        return TorchState(self._network)
