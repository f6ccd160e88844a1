"""The decoder alone, which predicts a text from its beginning, as in GPT."""

import functools

from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.config import LanguageModelConfig
from heed.transformer.attention import KeyValueCache, MultiHeadAttention
from heed.transformer.block import FeedForward, GatedFeedForward, Residual, Write, writer
from heed.transformer.kernels.dropout import Dropout
from heed.transformer.positions import Rotation, rotation

INITIAL_STD = 0.02  # of weights, as in GPT-2


class Layer(nn.Module):
    """Masked self-attention and feed-forward, each normalized first."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(
            d_model=config.d_model, n_heads=config.n_heads, n_kv_heads=config.n_kv_heads, biases=config.biases
        )
        self.self_residual = Residual(_norm(config), config.dropout, norm_first=True)
        self.feed_forward = _feed_forward(config)
        self.feed_residual = Residual(_norm(config), config.dropout, norm_first=True)

    def forward(self, x: Tensor, mask: Tensor, turn: Rotation | None, write: Write) -> Tensor:
        """Transform x, (B, T, D).

        Args:
            x: Positions to transform.
            mask: Which keys and values they see, broadcastable to (B, H, T, C).
            turn: The rotation of their positions, where positions are rotary.
            write: Puts x's own keys and values, (B, H, T, K), beside earlier ones; returns all, (B, H, C, K).
        """

        def attend(x: Tensor) -> Tensor:
            return self.self_attention(x, *write(*self.self_attention.project(x, turn)), mask, turn)

        x = self.self_residual(x, attend)
        return self.feed_residual(x, self.feed_forward)


class LanguageModel(nn.Module):
    """A decoder-only Transformer; input and output share one matrix of embeddings."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context, config.d_model)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = _norm(config)
        self._initialize()

    def _initialize(self) -> None:
        """Normal weights; those that write into the residual path are smaller, the more of them there are (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                n_writers = 2 * self.config.n_layers if ".output." in name or ".outer." in name else 1
                nn.init.normal_(parameter, std=INITIAL_STD * n_writers**-0.5)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        mask: Tensor,
        caches: list[KeyValueCache] | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """The logits of the tokens that follow each of some tokens, (B, T); (B, T, V).

        Args:
            ids: Token ids.
            positions: Where each stands in its text, (B, T).
            mask: Which keys and values they see, broadcastable to (B, H, T, C).
            caches: The keys and values of earlier tokens, for each layer; None: C are those of the T tokens.
            slots: Where in the caches theirs are put, (B, T).
        """
        return F.linear(self.states(ids, positions, mask, caches, slots), self.embedding.weight)

    def states(
        self,
        ids: Tensor,
        positions: Tensor,
        mask: Tensor,
        caches: list[KeyValueCache] | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """What `forward` makes its logits of, (B, T, D); the loss makes its own, a part at a time."""
        x = self.embedding(ids)
        learned = self.config.positions == "learned"
        x = self.dropout(x + self.position_embedding(positions) if learned else x)
        turn = None if learned else rotation(positions, self.config.d_head)
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, turn, writer(caches[number] if caches else None, slots, mask.shape[-1]))
        return self.norm(x)


def _norm(config: LanguageModelConfig) -> nn.Module:
    if config.norm == "rms":
        return nn.RMSNorm(config.d_model, eps=1e-5)
    return nn.LayerNorm(config.d_model, bias=config.biases)


def _feed_forward(config: LanguageModelConfig) -> nn.Module:
    if config.activation == "swiglu":
        return GatedFeedForward(d_model=config.d_model, d_ff=config.d_ff, biases=config.biases)
    gelu = functools.partial(F.gelu, approximate="tanh")  # as GPT-2 computes it
    return FeedForward(d_model=config.d_model, d_ff=config.d_ff, activation=gelu, biases=config.biases)
