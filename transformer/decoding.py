"""The PyTorch networks as the search sees them: numpy in, the best candidates out."""

import numpy as np
import torch
from torch import Tensor

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.transformer.attention import KeyValueCache
from heed.transformer.language_model import LanguageModel
from heed.transformer.masks import causal_mask
from heed.transformer.model import DecoderState, Transformer


class TorchState:
    """Sources being decoded by a PyTorch network; see `heed.models.runtime.protocol.State`."""

    def __init__(self, network: Transformer) -> None:
        self._network = network
        self._device = network.projection.weight.device
        self._state: DecoderState | None = None

    @torch.inference_mode()
    def read(self, src: IntArray, src_mask: BoolArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        self._state = self._network.start(self._tensor(src), self._tensor(src_mask)[:, None, None])

    @torch.inference_mode()
    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.State`."""
        assert self._state is not None, "a batch is read before the first step"
        logits = self._network.decode(
            self._tensor(tokens),
            torch.tensor([position], device=self._device),
            self._tensor(mask)[:, None],  # (B, 1, W, C)
            self._state,
            self._tensor(slots),
        )
        return _best(logits.float().log_softmax(-1), top, wanted)

    @torch.inference_mode()
    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        if self._state is not None:
            self._state.keep(self._tensor(rows))

    def _tensor(self, array: IntArray | BoolArray) -> Tensor:
        return _tensor(array, self._device)


class TorchNetwork:
    """A PyTorch network that `heed.models.decoding.beam_search.search` can decode with."""

    def __init__(self, network: Transformer) -> None:
        self._network = network

    def state(self) -> TorchState:
        """See `heed.models.runtime.protocol.Network`."""
        return TorchState(self._network)


class TorchTextState:
    """Texts being gone on with by a PyTorch network; see `heed.models.runtime.protocol.TextState`."""

    def __init__(self, network: LanguageModel) -> None:
        self._network = network
        self._device = network.embedding.weight.device
        self._caches: list[KeyValueCache] = []  # first the slots of the prompts, then those of the steps
        self._prompt_mask = self._tensor(np.zeros((0, 0), dtype=bool))  # which slots hold a prompt's tokens, (B, S - 1)

    @torch.inference_mode()
    def read(self, src: IntArray, src_mask: BoolArray, *, alone: bool = False) -> None:  # noqa: ARG002
        """See `heed.models.runtime.protocol.TextState`."""
        self._caches = [KeyValueCache() for _ in self._network.layers]
        self._prompt_mask = self._tensor(src_mask[:, 1:])  # a slot for each token that has another behind it
        B, n_slots = self._prompt_mask.shape
        if n_slots:
            slots = torch.arange(n_slots, device=self._device).expand(B, -1)
            mask = causal_mask(n_slots, self._device).expand(B, 1, -1, -1)
            self._network(self._tensor(src[:, :-1]), slots, mask, self._caches, slots)

    @torch.inference_mode()
    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.State`."""
        return _best(self._log_probs(tokens, position, slots, mask), top, wanted)

    @torch.inference_mode()
    def predict(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.TextState`."""
        if slots is None:
            slots, mask = np.full(tokens.shape, position), np.ones((*tokens.shape, position + 1), dtype=bool)
        log_probs: FloatArray = self._log_probs(tokens, position, slots, mask).cpu().numpy()
        return log_probs

    @torch.inference_mode()
    def score(self, ids: IntArray, targets: IntArray) -> FloatArray:
        """See `heed.models.runtime.protocol.TextState`."""
        T = ids.shape[1]
        positions = torch.arange(T, device=self._device).expand(len(ids), -1)
        logits = self._network(self._tensor(ids), positions, causal_mask(T, self._device))
        log_probs = logits.float().log_softmax(-1).gather(2, self._tensor(targets)[:, :, None])[:, :, 0]
        found: FloatArray = log_probs.cpu().numpy()
        return found

    @torch.inference_mode()
    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        chosen = self._tensor(rows)
        self._prompt_mask = self._prompt_mask[chosen]
        for cache in self._caches:
            cache.keep(chosen)

    def _log_probs(self, tokens: IntArray, position: int, slots: IntArray, mask: BoolArray) -> Tensor:
        """The log-probabilities of all that may follow each token, (B, W, V)."""
        (B, W), n_slots = tokens.shape, self._prompt_mask.shape[1]
        positions = (self._prompt_mask.sum(dim=1, keepdim=True) + position).expand(B, W)
        positions = positions.clamp(max=self._network.config.context - 1)
        prompt_mask = self._prompt_mask[:, None].expand(B, W, n_slots)
        seen = torch.cat([prompt_mask, self._tensor(mask)], dim=2)[:, None]  # (B, 1, W, S - 1 + C)
        places = self._tensor(slots) + n_slots
        logits = self._network(self._tensor(tokens), positions, seen, self._caches, places)
        return torch.log_softmax(logits.float(), dim=-1)

    def _tensor(self, array: IntArray | BoolArray) -> Tensor:
        return _tensor(array, self._device)


class TorchTextNetwork:
    """A PyTorch language model to generate with; see `heed.models.runtime.protocol.TextNetwork`."""

    def __init__(self, network: LanguageModel) -> None:
        self._network = network
        self.context, self.vocab_size = network.config.context, network.config.vocab_size

    def state(self) -> TorchTextState:
        """See `heed.models.runtime.protocol.TextNetwork`."""
        return TorchTextState(self._network)


def _best(log_probs: Tensor, top: int, wanted: IntArray | None) -> tuple[FloatArray, IntArray]:
    """The best candidates, (B, W, top), and behind them the wanted ones, (B, W, N); and their ids."""
    values, ids = log_probs.topk(min(top, log_probs.shape[-1]), dim=-1)
    if wanted is not None:
        ids = torch.cat([ids, _tensor(wanted, log_probs.device)], dim=-1)
        values = log_probs.gather(-1, ids)
    return values.cpu().numpy(), ids.cpu().numpy()


def _tensor(array: IntArray | BoolArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
