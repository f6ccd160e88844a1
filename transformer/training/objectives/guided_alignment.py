"""Guided alignment: one attention head learns to attend to the source token that the target copies next.

As Garg et al. (2019, arXiv 1909.02074) guide one head of the penultimate decoder layer by word alignments. Here nothing
has to align words: tokens that follow one another on both sides are a copy.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.network import NetworkSpec
from heed.transformer.attention import AttentionInputs, MultiHeadAttention
from heed.transformer.model import Transformer
from heed.transformer.positions import rotate

SHORTEST = 2  # tokens of a copy: single ones, as punctuation marks, are often alike by chance


def copies(src: Tensor, targets: Tensor, ignored: tuple[int, ...]) -> Tensor:
    """Where the target copies the source.

    Args:
        src: Source token ids, (B, S).
        targets: Target token ids, (B, T).
        ignored: Ids that are no part of a copy: padding and the end token.

    Returns:
        True where target token t copies source token s, as part of the longest copy with that target token,
        (B, T, S).
    """
    alike = targets[:, :, None] == src[:, None, :]
    for token in ignored:
        alike &= (targets != token)[:, :, None]
    _, T, _ = alike.shape
    lengths = alike.long()
    for t in range(1, T):  # of the copy up to here
        lengths[:, t, 1:] += lengths[:, t - 1, :-1] * alike[:, t, 1:]
    for t in range(T - 2, -1, -1):  # of the whole copy
        longer = torch.maximum(lengths[:, t, :-1], lengths[:, t + 1, 1:])
        lengths[:, t, :-1] = torch.where(alike[:, t, :-1], longer, 0)
    longest = lengths.amax(2, keepdim=True)
    return alike & (lengths == longest) & (longest >= SHORTEST)


class GuidedHead:
    """The first head of the penultimate decoder layer, in its attention to the source.

    Args:
        spec: The network's.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        assert spec.decoder is not None
        self._layer = max(0, spec.decoder.n_layers - 2)
        self._log_weights: Tensor | None = None  # (B, T, S)

    @property
    def has_seen(self) -> bool:
        """Whether there is something to guide."""
        return self._log_weights is not None

    @contextlib.contextmanager
    def watched(self, network: Transformer) -> Iterator[None]:
        """Within the block, remember what the head attends to."""
        assert network.decoder is not None
        layer = network.decoder.layers[self._layer]
        handle = layer.cross_attention.register_forward_hook(self._remember)  # type: ignore[union-attr]
        try:
            yield
        finally:
            handle.remove()

    def _remember(self, module: MultiHeadAttention, inputs: tuple[Tensor, AttentionInputs], _: Tensor) -> None:
        x, attended = inputs[:2]
        assert isinstance(attended.mask, Tensor)
        self._log_weights = head_log_weights(module, x, attended)

    def loss(self, copied: Tensor) -> Tensor:
        """The negative log of the attention to what is copied, in nats, summed over the copied tokens.

        Args:
            copied: See `copies`.
        """
        assert self._log_weights is not None
        rows = copied.any(2)
        chosen = self._log_weights[rows].masked_fill(~copied[rows], -torch.inf)
        self._log_weights = None
        return -chosen.logsumexp(1).sum()


def head_log_weights(module: MultiHeadAttention, x: Tensor, attended: AttentionInputs) -> Tensor:
    """The logarithms of what the first head attends to, (B, T, S)."""
    assert attended.memory is not None
    assert isinstance(attended.mask, Tensor)
    spec, D = module.spec, module.spec.d_head
    q, k = _first(module.query, x, D), _first(module.key, attended.memory, D)
    if module.query_norm is not None and module.key_norm is not None:
        q, k = module.query_norm(q), module.key_norm(k)
    q = rotate(q[:, None], attended.rotation)[:, 0]
    scores = (q @ k.transpose(1, 2)).float() * (D**-0.5 if spec.score_scale is None else spec.score_scale)
    return (scores + attended.mask[:, 0]).log_softmax(2)


def _first(linear: nn.Linear, x: Tensor, width: int) -> Tensor:
    """The first outputs of a layer: the other heads' are not needed."""
    return F.linear(x, linear.weight[:width], None if linear.bias is None else linear.bias[:width])
