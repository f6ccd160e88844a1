"""The PyTorch network as the search sees it: numpy in, the best candidates out."""

import numpy as np
import torch

from heed.models.search import BoolArray, FloatArray, IntArray
from heed.transformer.model import DecoderState, Transformer


class TorchState:
    """A batch of sources being decoded by a PyTorch network."""

    def __init__(self, network: Transformer, state: DecoderState) -> None:
        self._network, self._state = network, state
        self._n_steps = 0

    @torch.inference_mode()
    def step(self, tokens: IntArray, mask: BoolArray, top: int) -> tuple[FloatArray, IntArray]:
        """See `heed.models.search.State`."""
        device = self._state.memory_mask.device
        tgt = torch.from_numpy(tokens).to(device)  # (B, W): the hypotheses of a sentence are its queries
        positions = torch.full((tokens.shape[1],), self._n_steps, device=device)
        seen = torch.from_numpy(np.ascontiguousarray(mask)).to(device)[:, None]  # (B, 1, W, P + W)
        logits = self._network.decode(tgt, positions, seen, self._state)
        log_probs, ids = logits.float().log_softmax(-1).topk(min(top, logits.shape[-1]), dim=-1)
        self._n_steps += 1
        return log_probs.cpu().numpy(), ids.cpu().numpy()

    @torch.inference_mode()
    def keep(self, rows: IntArray) -> None:
        """See `heed.models.search.State`."""
        kept = torch.from_numpy(rows).to(self._state.memory_mask.device)
        self._state.keep(kept)


class TorchNetwork:
    """A PyTorch network that `heed.models.search.search` can decode with."""

    def __init__(self, network: Transformer) -> None:
        self._network = network

    @torch.inference_mode()
    def start(self, src: IntArray, src_mask: BoolArray) -> TorchState:
        """See `heed.models.search.Network`."""
        device = self._network.projection.weight.device
        mask = torch.from_numpy(src_mask).to(device)[:, None, None]  # (B, 1, 1, S)
        return TorchState(self._network, self._network.start(torch.from_numpy(src).to(device), mask))
