"""The description of a network: every Transformer that heed trains, imports, exports or runs is one."""

import dataclasses

from heed.models.spec.checks import refuse
from heed.models.spec.positions import Sinusoidal
from heed.models.spec.stack import StackSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """An encoder with a decoder, a decoder alone, or an encoder alone; the defaults are the paper's base model.

    A decoder's self-attention is causal; where there is an encoder, it attends to that one's output, too. All stacks
    have one width.
    """

    d_model: int = 512  # width (D)
    encoder: StackSpec | None = StackSpec()
    decoder: StackSpec | None = StackSpec()
    scale_embedding: bool = True  # whether embeddings are times √d_model (section 3.4)
    shared_embedding: bool = True  # one matrix for source and target (section 3.4)
    tied_output: bool = True  # the output matrix is the target's embedding (section 3.4)
    output_bias: bool = False  # of the logits
    output_scale: float | None = None  # what the last states are times before the output matrix; None: 1
    output_soft_cap: float | None = None  # c of logits c · tanh(logit / c); None: logits as they are
    dropout: float = 0.1  # share of activations dropped in training (P_drop)

    def __post_init__(self) -> None:
        wrong = [] if self.d_model >= 1 else [f"d_model must be at least 1, not {self.d_model!r}"]
        if self.encoder is None and self.decoder is None:
            wrong.append("encoder or decoder must be there")
        if self.encoder and self.decoder and self.shared_embedding:
            sizes = self.encoder.vocab_size, self.decoder.vocab_size
            if sizes[0] != sizes[1]:
                wrong.append(f"shared_embedding needs one vocabulary, not {sizes[0]!r} and {sizes[1]!r} pieces")
        sinusoidal = any(isinstance(stack.positions, Sinusoidal) for stack in self.stacks.values())
        if sinusoidal and self.d_model % 2:
            wrong.append(f"d_model must be even, for sines and cosines share it (section 3.5), not {self.d_model!r}")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout must be at least 0 and below 1, not {self.dropout!r}")
        refuse(wrong)

    @property
    def stacks(self) -> dict[str, StackSpec]:
        """The stacks that there are, by name."""
        found = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: stack for name, stack in found.items() if stack is not None}

    def embedding_of(self, stack: str) -> str:
        """The name of the embedding that a stack, "encoder" or "decoder", reads: of a shared one, the source's."""
        shared = self.shared_embedding and self.encoder is not None
        return "src_embedding" if shared or stack == "encoder" else "tgt_embedding"

    @property
    def output(self) -> str:
        """The name of the matrix that makes the logits."""
        return self.embedding_of("decoder" if self.decoder else "encoder") if self.tied_output else "projection"
