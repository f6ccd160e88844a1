"""NetworkSpec: the specification of every Transformer that heed trains, imports, exports or runs."""

from heed.models.records import record
from heed.models.spec.checks import no_choice, refuse
from heed.models.spec.positions import RelativeSinusoids, Sinusoidal
from heed.models.spec.stack import ACTIVATIONS, StackSpec


@record(frozen=True, kw_only=True)
class NetworkSpec:
    """An encoder and a decoder, or one of them alone; the defaults are the paper's base model.

    A decoder's self-attention is causal. If there is an encoder, the decoder attends to its output. Both stacks have
    the same width.
    """

    d_model: int = 512  # width (D)
    encoder: StackSpec | None = StackSpec()
    decoder: StackSpec | None = StackSpec()
    scale_embedding: bool = True  # multiply embeddings by √d_model (section 3.4)
    shared_embedding: bool = True  # one embedding matrix for source and target (section 3.4)
    tied_output: bool = True  # tie the output matrix to the target embedding (section 3.4)
    output_bias: bool = False  # of the logits
    output_scale: float | None = None  # factor of the final states before the output matrix; None: 1
    output_soft_cap: float | None = None  # c in c · tanh(logit / c); None: no soft cap
    # Activation of a dense layer, before a norm and the output matrix, as in BERT; None: there is no such layer.
    output_transform: str | None = None
    dropout: float = 0.1  # dropout rate in training (P_drop)

    def __post_init__(self) -> None:
        wrong = [] if self.d_model >= 1 else [f"d_model must be at least 1, not {self.d_model!r}"]
        if self.encoder is None and self.decoder is None:
            wrong.append("encoder or decoder must be given")
        if self.encoder and self.decoder and self.shared_embedding:
            sizes = self.encoder.vocab_size, self.decoder.vocab_size
            if sizes[0] != sizes[1]:
                wrong.append(f"shared_embedding needs one vocabulary, not {sizes[0]!r} and {sizes[1]!r} pieces")
        forms = (Sinusoidal, RelativeSinusoids)
        sinusoidal = any(isinstance(stack.positions, forms) for stack in self.stacks.values())
        if sinusoidal and self.d_model % 2:
            wrong.append(f"d_model must be even for sinusoidal positions (section 3.5), not {self.d_model!r}")
        if self.decoder and isinstance(self.decoder.positions, RelativeSinusoids):
            wrong.append("relative_sinusoids positions are for an encoder; choose others for the decoder")
        recurrent = [name for name, stack in self.stacks.items() if stack.recurrence is not None]
        if "encoder" in recurrent or (recurrent and self.encoder is None):
            wrong.append("recurrence is for the decoder of a network with an encoder; leave it out")
        if self.output_transform is not None:
            wrong += no_choice("output_transform", self.output_transform, ACTIVATIONS)
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout must be at least 0 and below 1, not {self.dropout!r}")
        refuse(wrong)

    @property
    def stacks(self) -> dict[str, StackSpec]:
        """The existing stacks, by name."""
        found = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: stack for name, stack in found.items() if stack is not None}

    @property
    def last(self) -> StackSpec:
        """The stack whose states are the output layer's input."""
        (*_, last) = self.stacks.values()
        return last

    def embedding_of(self, stack: str) -> str:
        """The name of the embedding of a stack, "encoder" or "decoder"; a shared one has the source's name."""
        shared = self.shared_embedding and self.encoder is not None
        return "src_embedding" if shared or stack == "encoder" else "tgt_embedding"

    @property
    def output(self) -> str:
        """The name of the output matrix."""
        return self.embedding_of("decoder" if self.decoder else "encoder") if self.tied_output else "projection"
