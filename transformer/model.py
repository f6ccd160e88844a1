"""The Transformer: encoder and decoder (section 3, Figure 1), or one of them."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import Learned, RelativeBuckets, RelativeSinusoids, Rotary, Sinusoidal
from heed.transformer.attention import AttentionInputs
from heed.transformer.block import Block, BlockCache
from heed.transformer.feed_forward import ACTIVATIONS
from heed.transformer.kernels.dropout import Dropout
from heed.transformer.kernels.linear import Linear
from heed.transformer.masks import Causal, as_numbers, causal_mask, packed, text_mask, window_mask
from heed.transformer.norm import new_norm
from heed.transformer.positions import Rotation, buckets, rotation, sinusoids
from heed.transformer.recurrence import previous_slots
from heed.transformer.relative import distances

INITIAL_STD = 0.02  # of weights if embeddings are not scaled, as in GPT-2
FLASH_D_HEAD = 256  # largest head width of the kernels for packed texts


class Table(nn.Module):
    """A table of vectors: of tokens, positions or distances."""

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, width))

    def forward(self, numbers: Tensor) -> Tensor:
        """The vectors, (…, width), for indices of any shape."""
        return F.embedding(numbers, self.weight)


class Stack(nn.Module):
    """Embeddings with positions, and N layers (sections 3.1 and 3.5).

    Args:
        network: The network's specification.
        name: "encoder" or "decoder".
    """

    def __init__(self, network: NetworkSpec, name: str) -> None:
        super().__init__()
        spec, D = network.stacks[name], network.d_model
        self.spec, self.is_causal = spec, name == "decoder"
        place = spec.positions
        self.positions = Table(place.n_positions + place.offset, D) if isinstance(place, Learned) else None
        n_buckets = place.n_buckets if isinstance(place, RelativeBuckets) else 0
        self.relative_bias = Table(n_buckets, spec.attention.n_heads) if n_buckets else None
        self.embedding_norm = new_norm(spec.norm, D) if spec.norm.embedding else None
        self.dropout = Dropout(network.dropout)
        self.crosses = self.is_causal and network.encoder is not None
        self.layers = nn.ModuleList(Block(spec, D, network.dropout, crosses=self.crosses) for _ in range(spec.n_layers))
        self.norm = new_norm(spec.norm, D) if spec.norm.last else None

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        inputs: AttentionInputs,
        memory: AttentionInputs | None = None,
        caches: Sequence[BlockCache] | None = None,
    ) -> Tensor:
        """Transform embeddings.

        Args:
            x: Embeddings, (B, T, D).
            positions: Positions from 0, (T,) or (B, T).
            inputs: What self-attention attends to, from `attention_inputs` or `causal_inputs`.
            memory: What cross-attention attends to.
            caches: KV caches of each layer.
        """
        x = self._placed(x, positions)
        x = x if self.embedding_norm is None else self.embedding_norm(x)
        x = self.dropout(x)
        for number, layer in enumerate(self.layers):
            x = layer(x, inputs, memory, caches[number] if caches else None)
        return x if self.norm is None else self.norm(x)

    def attention_inputs(
        self, mask: Tensor, positions: Tensor, keys: Tensor | None = None, slots: Tensor | None = None
    ) -> AttentionInputs:
        """What tokens attend to under a mask.

        Args:
            mask: True where they may attend, broadcastable to (B, H, T, S).
            positions: Positions of the queries, (T,) or (B, T).
            keys: Positions of the keys, (S,) or (B, S); None: those of the queries.
            slots: Slots of the caches for their keys and values, (B, T).
        """
        window, bias = self.spec.attention.window, None
        if window or self.relative_bias:
            keys = positions if keys is None else keys
            distances = keys[..., None, :] - positions[..., :, None]  # (T, S) or (B, T, S)
            if window:
                near = window_mask(distances, window)
                mask = mask & (near[:, None] if near.dim() > 2 else near)
                if not self.is_causal:  # padding attends to itself: a query without keys would give NaN
                    mask = mask | (distances == 0)
            bias = self._bias(distances)
        added = as_numbers(mask) if bias is None else bias.float().masked_fill(~mask, -math.inf)
        previous = None
        if self.spec.recurrence is not None and keys is not None:
            previous = previous_slots(mask, positions, keys)
        return AttentionInputs(added, self._rotation(positions), slots=slots, previous=previous)

    def causal_inputs(self, positions: Tensor, device: torch.device) -> AttentionInputs:
        """Causal attention within complete texts (section 3.2.3).

        Args:
            positions: (T,), or (B, T) for rows of several texts, each from 0; best on the CPU.
            device: The device of attention.
        """
        several, there = positions.dim() > 1, positions.to(device, non_blocking=True)
        window = self.spec.attention.window
        if self._needs_no_mask(device, packs=several or window is not None):
            causal = packed(positions, device) if several else Causal()
            return AttentionInputs(dataclasses.replace(causal, window=window), self._rotation(there))
        return self.attention_inputs(text_mask(there) if several else causal_mask(len(there), device), there)

    def _needs_no_mask(self, device: torch.device, *, packs: bool) -> bool:
        """Whether causal attention has kernels that need no mask, on a GPU."""
        attention = self.spec.attention
        if device.type != "cuda" or self.relative_bias or attention.soft_cap:
            return False
        narrow = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") != torch.float32
        return not packs or (narrow and attention.d_head % 8 == 0 and attention.d_head <= FLASH_D_HEAD)

    def _placed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Embeddings with position encodings."""
        place = self.spec.positions
        if isinstance(place, Sinusoidal):
            return x + sinusoids(positions, x.shape[-1], place)
        if isinstance(place, Learned):
            assert self.positions is not None
            return x + self.positions(positions + place.offset)
        return x

    def _bias(self, distances: Tensor) -> Tensor | None:
        """The bias of relative positions for distances, (…, T, S): (…, H, T, S)."""
        if self.relative_bias is None:
            return None
        assert isinstance(self.spec.positions, RelativeBuckets)
        numbers = buckets(distances, self.spec.positions, two_sided=not self.is_causal)
        return self.relative_bias(numbers).movedim(-1, -3)

    def _rotation(self, positions: Tensor) -> Rotation | None:
        place = self.spec.positions
        return rotation(positions, self.spec.attention.d_head, place) if isinstance(place, Rotary) else None


class Output(nn.Module):
    """The output layer: a matrix, unless tied to an embedding, and an optional bias (section 3.4)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        V = spec.last.vocab_size
        self.weight = None if spec.tied_output else nn.Parameter(torch.empty(V, spec.d_model))
        self.bias = nn.Parameter(torch.empty(V)) if spec.output_bias else None


class OutputTransform(nn.Module):
    """A dense layer, its activation and a norm before the output matrix (BERT; Devlin et al., 2018)."""

    def __init__(self, spec: NetworkSpec, activation: str) -> None:
        super().__init__()
        self.dense = Linear(spec.d_model, spec.d_model)
        self.activation = ACTIVATIONS[activation]
        self.norm = new_norm(spec.last.norm, spec.d_model)

    def forward(self, states: Tensor) -> Tensor:
        """Transform final states, (…, D)."""
        return self.norm(self.activation(self.dense(states)))


class Transformer(nn.Module):
    """A network of any specification; names and shapes of its parameters are those of `heed.models.spec.parameters`.

    Training calls it on complete texts. Decoding calls `encode` once and `decode` for each step, which is the same
    computation on fewer positions.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        for name in dict.fromkeys(spec.embedding_of(name) for name in spec.stacks):
            vocab_size = next(stack.vocab_size for of, stack in spec.stacks.items() if spec.embedding_of(of) == name)
            self.add_module(name, Table(vocab_size, spec.d_model))
        self.encoder = Stack(spec, "encoder") if spec.encoder else None
        self.decoder = Stack(spec, "decoder") if spec.decoder else None
        transform = spec.output_transform
        self.output_transform = None if transform is None else OutputTransform(spec, transform)
        self.projection = Output(spec)
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw fresh weights."""
        for name, parameter in self.named_parameters():
            if not parameter.is_meta:  # which has a shape alone
                parameter.copy_(self.fresh(name, parameter.shape))

    def fresh(self, name: str, shape: torch.Size) -> Tensor:
        """Fresh weights: the paper's, or GPT-2's where embeddings are not scaled; biases are 0 and norms 1."""
        found = torch.empty(shape, device="cpu")
        if len(shape) == 1:
            return found.fill_(float(name.endswith("norm.weight")))
        if not self.spec.scale_embedding:
            return found.normal_(std=INITIAL_STD * self._n_writers(name) ** -0.5)
        if isinstance(self.get_submodule(name.rpartition(".")[0]), Table):
            return found.normal_(std=self.spec.d_model**-0.5)  # so that √D times it has variance 1
        return nn.init.xavier_uniform_(found)

    def _n_writers(self, name: str) -> int:
        """The number of matrices that write to the same residual stream; the more, the smaller the weights (GPT-2)."""
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
        """The logits of the next token at each position of the target.

        Args:
            src: Source token ids, (B, S), for a network with an encoder.
            src_mask: True at real source tokens, (B, 1, 1, S).
            tgt: Target token ids, starting with the beginning token, (B, T), for a network with a decoder.
            positions: Position of each within its text, (B, T), if rows hold several texts; best on the CPU.

        Returns:
            Logits, (B, T, V); without a decoder, logits at the source positions, (B, S, V).
        """
        return self.logits(self.states(src, src_mask, tgt, positions))

    def states(
        self,
        src: Tensor | None = None,
        src_mask: Tensor | None = None,
        tgt: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The final states, (B, T, D), from which logits are computed; the loss computes them in chunks."""
        memory = None
        if self.encoder is not None:
            assert src is not None, "an encoder reads a source"
            assert src_mask is not None, "and where it is no padding"
            memory = AttentionInputs(as_numbers(src_mask), memory=self.encode(src, src_mask))
        if self.decoder is None:
            assert memory is not None
            assert memory.memory is not None
            return self.predictive(memory.memory)
        assert tgt is not None, "a decoder reads a target"
        positions = torch.arange(tgt.shape[1], device=tgt.device) if positions is None else positions
        inputs = self.decoder.causal_inputs(positions, tgt.device)
        return self.decode(tgt, positions.to(tgt.device, non_blocking=True), inputs, memory)

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        """The encoder's output for source ids, (B, S): memory, (B, S, D)."""
        assert self.encoder is not None
        positions = torch.arange(src.shape[1], device=src.device)
        inputs = self.encoder.attention_inputs(src_mask, positions)
        if isinstance(self.encoder.spec.positions, RelativeSinusoids):
            inputs = dataclasses.replace(inputs, distances=distances(src_mask, self.spec.d_model))
        return self.encoder(self._embedded("encoder", src), positions, inputs)

    def decode(
        self,
        tgt: Tensor,
        positions: Tensor,
        inputs: AttentionInputs,
        memory: AttentionInputs | None,
        caches: Sequence[BlockCache] | None = None,
    ) -> Tensor:
        """The final states for target tokens, (B, T): (B, T, D).

        Args:
            tgt: Token ids, (B, T).
            positions: Positions, (T,) or (B, T), or (B, 1) for all tokens of a row, because hypotheses share a
                position.
            inputs: What self-attention attends to, from `Stack.attention_inputs`.
            memory: What cross-attention attends to.
            caches: KV caches of each layer.
        """
        assert self.decoder is not None
        return self.predictive(self.decoder(self._embedded("decoder", tgt), positions, inputs, memory, caches))

    def logits(self, states: Tensor) -> Tensor:
        """Logits, (…, V), from final states, (…, D)."""
        logits, cap = F.linear(states, self.output_weight, self.projection.bias), self.spec.output_soft_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def output_weight(self) -> Tensor:
        """The output matrix, (V, D)."""
        return self.get_parameter(f"{self.spec.output}.weight")

    def predictive(self, states: Tensor) -> Tensor:
        """A stack's states, (…, D), as the output matrix reads them: transformed and scaled."""
        states = states if self.output_transform is None else self.output_transform(states)
        return states if self.spec.output_scale is None else states * self.spec.output_scale

    def _embedded(self, stack: str, ids: Tensor) -> Tensor:
        """The embeddings of token ids, (B, T): (B, T, D), multiplied by √D if scaled (section 3.4)."""
        x = self.get_submodule(self.spec.embedding_of(stack))(ids)
        return x * math.sqrt(self.spec.d_model) if self.spec.scale_embedding else x
