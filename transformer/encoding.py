"""An encoder alone in PyTorch: NumPy in, states and log-probabilities out."""

import numpy as np
import torch

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.spec.network import NetworkSpec
from heed.transformer.model import Transformer


class TorchEncoder:
    """An encoder in PyTorch; see `heed.models.runtime.protocol.Encoder`."""

    def __init__(self, network: Transformer) -> None:
        assert network.decoder is None, "an encoder alone"
        self._network, self._device = network, network.output_weight.device

    @property
    def spec(self) -> NetworkSpec:
        """See `heed.models.runtime.protocol.Encoder`."""
        return self._network.spec

    @torch.inference_mode()
    def encode(self, src: IntArray, src_mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.Encoder`."""
        ids, mask = (torch.from_numpy(np.ascontiguousarray(array)).to(self._device) for array in (src, src_mask))
        states: FloatArray = self._network.encode(ids, mask[:, None, None]).float().cpu().numpy()
        return states

    @torch.inference_mode()
    def log_probs(self, states: FloatArray) -> FloatArray:
        """See `heed.models.runtime.protocol.Encoder`."""
        network = self._network
        logits = network.logits(network.predictive(torch.from_numpy(states).to(self._device)))
        found: FloatArray = logits.float().log_softmax(-1).cpu().numpy()
        return found
