"""The Transformer: an encoder and a decoder (section 3, Figure 1), or one of them alone."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned, RelativeBuckets, Rotary, Sinusoidal
from heed.transformer.attention import Sight
from heed.transformer.block import Block, BlockCache
from heed.transformer.kernels.dropout import Dropout
from heed.transformer.masks import Causal, as_numbers, causal_mask, packed, text_mask, window_mask
from heed.transformer.norm import new_norm
from heed.transformer.positions import Rotation, buckets, rotation, sinusoids

INITIAL_STD = 0.02  # of weights where embeddings are not scaled, as in GPT-2
FLASH_D_HEAD = 256  # the widest head for which there are kernels of packed texts


class Table(nn.Module):
    """A vector for each of some numbers: tokens, positions, distances."""

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, width))

    def forward(self, numbers: Tensor) -> Tensor:
        """The vectors, (…, width), of numbers of any shape."""
        return F.embedding(numbers, self.weight)


class Stack(nn.Module):
    """N layers on top of embeddings and positions (sections 3.1 and 3.5).

    Args:
        network: All of the network.
        name: Which stack of it this is, "encoder" or "decoder".
    """

    def __init__(self, network: NetworkSpec, name: str) -> None:
        super().__init__()
        spec, D = network.stacks[name], network.d_model
        self.spec, self.is_causal = spec, name == "decoder"
        place = spec.positions
        self.positions = Table(place.n_positions + place.offset, D) if isinstance(place, Learned) else None
        relative = isinstance(place, RelativeBuckets)
        self.relative_bias = Table(place.n_buckets, spec.attention.n_heads) if relative else None
        self.embedding_norm = new_norm(spec.norm, D) if spec.norm.embedding else None
        self.dropout = Dropout(network.dropout)
        self.crosses = self.is_causal and network.encoder is not None
        self.layers = nn.ModuleList(Block(spec, D, network.dropout, crosses=self.crosses) for _ in range(spec.n_layers))
        self.norm = new_norm(spec.norm, D) if spec.norm.last else None

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        sight: Sight,
        memory: Sight | None = None,
        caches: Sequence[BlockCache] | None = None,
    ) -> Tensor:
        """Transform embeddings.

        Args:
            x: Embeddings, (B, T, D).
            positions: Where they stand, from 0, (T,) or (B, T).
            sight: What they see, by `sight` or `causal_sight`.
            memory: What they see of the encoder's output.
            caches: Keys and values to be used again, for each layer.
        """
        x = self._placed(x, positions)
        x = x if self.embedding_norm is None else self.embedding_norm(x)
        x = self.dropout(x)
        for number, layer in enumerate(self.layers):
            x = layer(x, sight, memory, caches[number] if caches else None)
        return x if self.norm is None else self.norm(x)

    def sight(self, mask: Tensor, positions: Tensor, keys: Tensor | None = None, slots: Tensor | None = None) -> Sight:
        """What tokens see under a mask.

        Args:
            mask: True where they may look, broadcastable to (B, H, T, S).
            positions: Theirs, (T,) or (B, T).
            keys: Those of what they see, (S,) or (B, S); None: they see each other.
            slots: Where in caches their keys and values are put, (B, T).
        """
        window, bias = self.spec.attention.window, None
        if window or self.relative_bias:
            keys = positions if keys is None else keys
            distances = keys[..., None, :] - positions[..., :, None]  # (T, S) or (B, T, S)
            if window:
                near = window_mask(distances, window)
                mask = mask & (near[:, None] if near.dim() > 2 else near)
                if not self.is_causal:  # padding sees itself at least: a query that sees nothing has no numbers
                    mask = mask | (distances == 0)
            bias = self._bias(distances)
        added = as_numbers(mask) if bias is None else bias.float().masked_fill(~mask, -math.inf)
        return Sight(added, self._rotation(positions), slots=slots)

    def causal_sight(self, positions: Tensor, device: torch.device) -> Sight:
        """What whole texts see of themselves: each token what came before it (section 3.2.3).

        Args:
            positions: (T,), or of several texts in a row, each from 0, (B, T); best on the CPU.
            device: Where attention is computed.
        """
        several, there = positions.dim() > 1, positions.to(device, non_blocking=True)
        window = self.spec.attention.window
        if self._needs_no_mask(device, packs=several or window is not None):
            causal = packed(positions, device) if several else Causal()
            return Sight(dataclasses.replace(causal, window=window), self._rotation(there))
        return self.sight(text_mask(there) if several else causal_mask(len(there), device), there)

    def _needs_no_mask(self, device: torch.device, *, packs: bool) -> bool:
        """Whether there are kernels for a causal mask that is not there: on a GPU."""
        attention = self.spec.attention
        if device.type != "cuda" or self.relative_bias or attention.soft_cap:
            return False
        narrow = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") != torch.float32
        return not packs or (narrow and attention.d_head % 8 == 0 and attention.d_head <= FLASH_D_HEAD)

    def _placed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Embeddings and what says where they stand."""
        place = self.spec.positions
        if isinstance(place, Sinusoidal):
            return x + sinusoids(positions, x.shape[-1], place)
        if isinstance(place, Learned):
            assert self.positions is not None
            return x + self.positions(positions + place.offset)
        return x

    def _bias(self, distances: Tensor) -> Tensor | None:
        """What is added to the scores of keys at distances, (…, T, S), by relative positions: (…, H, T, S)."""
        if self.relative_bias is None:
            return None
        assert isinstance(self.spec.positions, RelativeBuckets)
        numbers = buckets(distances, self.spec.positions, two_sided=not self.is_causal)
        return self.relative_bias(numbers).movedim(-1, -3)

    def _rotation(self, positions: Tensor) -> Rotation | None:
        place = self.spec.positions
        return rotation(positions, self.spec.attention.d_head, place) if isinstance(place, Rotary) else None


class Output(nn.Module):
    """What makes logits: a matrix, where it is not an embedding, and a bias, where there is one (section 3.4)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        (*_, last) = spec.stacks.values()
        self.weight = None if spec.tied_output else nn.Parameter(torch.empty(last.vocab_size, spec.d_model))
        self.bias = nn.Parameter(torch.empty(last.vocab_size)) if spec.output_bias else None


class Transformer(nn.Module):
    """A network of any form; its parameters have the names and shapes of `heed.models.spec.parameters`.

    Training calls it on whole texts. Decoding calls `encode` once and `decode` for each step; a step is the same
    computation, on fewer positions.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        for name in dict.fromkeys(spec.embedding_of(name) for name in spec.stacks):
            vocab_size = next(stack.vocab_size for of, stack in spec.stacks.items() if spec.embedding_of(of) == name)
            self.add_module(name, Table(vocab_size, spec.d_model))
        self.encoder = Stack(spec, "encoder") if spec.encoder else None
        self.decoder = Stack(spec, "decoder") if spec.decoder else None
        self.projection = Output(spec)
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw fresh weights: the paper's, or GPT-2's where embeddings are not scaled; biases are 0 and norms 1."""
        tables = {f"{name}.weight" for name, module in self.named_modules() if isinstance(module, Table)}
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(float(name.endswith("norm.weight")))
            elif not self.spec.scale_embedding:
                parameter.normal_(std=INITIAL_STD * self._n_writers(name) ** -0.5)
            elif name in tables:
                parameter.normal_(std=self.spec.d_model**-0.5)  # so that √D times it has variance 1
            else:
                nn.init.xavier_uniform_(parameter)

    def _n_writers(self, name: str) -> int:
        """How many matrices like this one add to the same states: the more, the smaller is each (GPT-2)."""
        stack = getattr(self, name.partition(".")[0])
        writes = name.endswith((".output.weight", ".outer.weight"))
        return len(stack.layers) * (3 if stack.crosses else 2) if writes else 1

    def forward(
        self,
        src: Tensor | None = None,
        src_mask: Tensor | None = None,
        tgt: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The logits of the token after each position of the target, given those before it.

        Args:
            src: Source token ids, (B, S), for a network with an encoder.
            src_mask: True where a source token is no padding, (B, 1, 1, S).
            tgt: Target token ids from the beginning token on, (B, T), for a network with a decoder.
            positions: Where each of them stands in its text, (B, T), where rows hold several texts; best on the CPU.

        Returns:
            Logits, (B, T, V); without a decoder those of the source's own positions, (B, S, V).
        """
        return self.logits(self.states(src, src_mask, tgt, positions))

    def states(
        self,
        src: Tensor | None = None,
        src_mask: Tensor | None = None,
        tgt: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """What `forward` makes its logits of, (B, T, D); the loss makes its own, a part at a time."""
        memory = None
        if self.encoder is not None:
            assert src is not None, "an encoder reads a source"
            assert src_mask is not None, "and where it is no padding"
            memory = Sight(as_numbers(src_mask), memory=self.encode(src, src_mask))
        if self.decoder is None:
            assert memory is not None
            assert memory.memory is not None
            return self._scaled(memory.memory)
        assert tgt is not None, "a decoder reads a target"
        positions = torch.arange(tgt.shape[1], device=tgt.device) if positions is None else positions
        sight = self.decoder.causal_sight(positions, tgt.device)
        return self.decode(tgt, positions.to(tgt.device, non_blocking=True), sight, memory)

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        """The encoder's output for source ids, (B, S): memory, (B, S, D)."""
        assert self.encoder is not None
        positions = torch.arange(src.shape[1], device=src.device)
        return self.encoder(self._embedded("encoder", src), positions, self.encoder.sight(src_mask, positions))

    def decode(
        self,
        tgt: Tensor,
        positions: Tensor,
        sight: Sight,
        memory: Sight | None,
        caches: Sequence[BlockCache] | None = None,
    ) -> Tensor:
        """The states after some target tokens, (B, T), of which logits are made: (B, T, D).

        Args:
            tgt: Token ids, (B, T).
            positions: Where they stand, (T,) or (B, T), or (B, 1) for all of a row: hypotheses share a position.
            sight: What they see of the target, by `Stack.sight`.
            memory: What they see of the encoder's output.
            caches: Keys and values of earlier tokens, for each layer.
        """
        assert self.decoder is not None
        return self._scaled(self.decoder(self._embedded("decoder", tgt), positions, sight, memory, caches))

    def logits(self, states: Tensor) -> Tensor:
        """The logits, (…, V), that are made of states, (…, D)."""
        logits, cap = F.linear(states, self.output_weight, self.projection.bias), self.spec.output_soft_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def output_weight(self) -> Tensor:
        """The matrix that makes the logits, (V, D)."""
        return self.get_parameter(f"{self.spec.output}.weight")

    def _scaled(self, states: Tensor) -> Tensor:
        """What stacks put out, as the output matrix is to have it."""
        return states if self.spec.output_scale is None else states * self.spec.output_scale

    def _embedded(self, stack: str, ids: Tensor) -> Tensor:
        """The embeddings of token ids, (B, T): (B, T, D), times √D where they are scaled (section 3.4)."""
        x = self.get_submodule(self.spec.embedding_of(stack))(ids)
        return x * math.sqrt(self.spec.d_model) if self.spec.scale_embedding else x
