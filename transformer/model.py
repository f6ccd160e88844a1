"""The Transformer: an encoder and a decoder over shared embeddings (section 3, Figure 1)."""

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.config import ModelConfig
from heed.transformer.attention import KeyValueCache
from heed.transformer.block import DecoderLayer, EncoderLayer, writer
from heed.transformer.kernels.dropout import Dropout
from heed.transformer.masks import causal_mask
from heed.transformer.positions import sinusoids


@dataclasses.dataclass
class DecoderState:
    """What decoding keeps for a batch of sources between two steps."""

    memory: list[tuple[Tensor, Tensor]]  # each layer's keys and values of the encoder's output, (B, H, S, K)
    memory_mask: Tensor  # (B, 1, 1, S)
    caches: list[KeyValueCache]  # each layer's own keys and values

    def keep(self, rows: Tensor) -> None:
        """Go on with these sources of the batch alone."""
        self.memory = [(keys[rows], values[rows]) for keys, values in self.memory]
        self.memory_mask = self.memory_mask[rows]
        for cache in self.caches:
            cache.keep(rows)


class Embedding(nn.Module):
    """Token embeddings times √d_model (section 3.4), plus positions, with dropout (section 5.4)."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, config.d_model))
        self.dropout = Dropout(config.dropout)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Embed token ids, (B, T), that stand at positions (T,) or (1,); returns (B, T, D)."""
        d_model = self.weight.shape[1]
        return self.dropout(F.embedding(ids, self.weight) * math.sqrt(d_model) + sinusoids(positions, d_model))


class Encoder(nn.Module):
    """A stack of N layers (section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Transform x, (B, S, D), under a mask broadcastable to (B, H, S, S)."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Decoder(nn.Module):
    """A stack of N layers (section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor, state: DecoderState, slots: Tensor | None) -> Tensor:
        """Transform x, (B, T, D), as `Transformer.decode` does."""
        for layer, memory, cache in zip(self.layers, state.memory, state.caches, strict=True):
            x = layer(x, mask, memory, state.memory_mask, writer(cache, slots, mask.shape[-1]))
        return self.norm(x)


class Transformer(nn.Module):
    """The encoder-decoder Transformer.

    Training calls it on whole targets. Decoding calls `start` once and `decode` for each step; a step is
    the same computation, on fewer positions.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.src_embedding = Embedding(config, config.src_vocab_size)
        self.tgt_embedding = self.src_embedding if config.tied_embeddings else Embedding(config, config.tgt_vocab_size)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.projection = nn.Linear(config.d_model, config.tgt_vocab_size, bias=False)
        if config.tied_embeddings:
            self.projection.weight = self.src_embedding.weight
        self._initialize()

    def _initialize(self) -> None:
        """Glorot's uniform for matrices; embeddings of variance 1/D, so that √D times them has variance 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for embedding in (self.src_embedding, self.tgt_embedding):
            nn.init.normal_(embedding.weight, std=self.config.d_model**-0.5)

    def forward(self, src: Tensor, src_mask: Tensor, tgt: Tensor) -> Tensor:
        """The logits of every target position given those before it.

        Args:
            src: Source token ids, (B, S).
            src_mask: True where a source token is no padding, (B, 1, 1, S).
            tgt: Target token ids from the beginning-of-sentence token on, (B, T).

        Returns:
            Logits of the token after each position, (B, T, V).
        """
        return self.projection(self.states(src, src_mask, tgt))

    def states(self, src: Tensor, src_mask: Tensor, tgt: Tensor) -> Tensor:
        """What `forward` makes its logits of, (B, T, D); the loss makes its own, a part at a time."""
        T = tgt.shape[1]
        positions = torch.arange(T, device=tgt.device)
        state = self.start(src, src_mask)
        return self.decoder(self.tgt_embedding(tgt, positions), causal_mask(T, tgt.device), state, None)

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        """The encoder's output for source ids, (B, S): memory, (B, S, D)."""
        positions = torch.arange(src.shape[1], device=src.device)
        return self.encoder(self.src_embedding(src, positions), src_mask)

    def start(self, src: Tensor, src_mask: Tensor) -> DecoderState:
        """Encode sources, (B, S), and project the memory for each decoder layer, once for all steps."""
        memory = self.encode(src, src_mask)
        projected = [layer.cross_attention.project(memory) for layer in self.decoder.layers]  # type: ignore[union-attr, operator]
        return DecoderState(projected, src_mask, [KeyValueCache() for _ in projected])

    def decode(
        self, tgt: Tensor, positions: Tensor, mask: Tensor, state: DecoderState, slots: Tensor | None = None
    ) -> Tensor:
        """The logits of the tokens that follow each of some target tokens, (B, T); (B, T, V).

        Args:
            tgt: Token ids, (B, T).
            positions: Where they stand in the target, (T,), or (1,) for all: the hypotheses of a beam share a position.
            mask: Which keys and values they see, broadcastable to (B, H, T, C).
            state: The sources, and the keys and values of earlier tokens.
            slots: Where in the state theirs are put, (B, T); None: nowhere, for C are those of the T tokens.
        """
        x = self.decoder(self.tgt_embedding(tgt, positions), mask, state, slots)
        return self.projection(x)
