"""What a training run was asked to do."""

import dataclasses
import math

from heed.models.errors import ModelError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Data, tokenizer, optimization and limits of a run; the defaults are the paper's base model (section 5)."""

    src: tuple[str, ...]  # source text files, a sentence a line
    tgt: tuple[str, ...]  # target text files, line by line the translations
    valid_src: tuple[str, ...] = ()  # validation text; without it, pairs are held out of the training text
    valid_tgt: tuple[str, ...] = ()
    src_language: str = ""  # what the model card calls it: "en"
    tgt_language: str = ""
    tokenizer: tuple[str, ...] = ()  # SentencePiece models: one for both sides, or source and target
    joint: bool = True  # learn one vocabulary for both sides
    vocab_size: int = 37000  # pieces to learn, of each vocabulary
    batch_tokens: int = 25000  # tokens a batch and side, padding included (section 5.1)
    max_length: int = 128  # tokens; pairs with a longer side are left out
    warmup: int = 4000  # steps of rising learning rate (section 5.3)
    learning_rate_scale: float = 1.0  # times the paper's schedule
    label_smoothing: float = 0.1  # ε_ls (section 5.4)
    precision: str = "auto"  # "bfloat16" or "float32"; "auto": bfloat16 where the device computes in it
    steps: int | None = None  # optimizer steps at most
    epochs: int | None = None  # passes over the pairs at most
    minutes: float | None = None  # time at most
    valid_every: int = 1000  # steps between two validations, each with a checkpoint
    average: int = 5  # last checkpoints kept, and averaged at the end (section 6.1)
    seed: int = 1

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "batch_tokens", "max_length", "warmup", "valid_every", "average")
        limits = ("steps", "epochs", "minutes", "learning_rate_scale")
        above_zero = {name: getattr(self, name) for name in (*sizes, *limits)}
        wrong = [
            f"{name} must be a number above 0, not {value!r}"
            for name, value in above_zero.items()
            if value is not None and not 0 < value < math.inf
        ]
        if self.steps is self.epochs is self.minutes is None:
            wrong.append("one of steps, epochs and minutes must say when to stop")
        if not 0 <= self.label_smoothing < 1:
            wrong.append(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing!r}")
        if not 0 <= self.seed < 2**63:
            wrong.append(f"seed must be at least 0 and below 2^63, not {self.seed!r}")
        if self.precision not in ("auto", "bfloat16", "float32"):
            wrong.append(f"precision must be 'auto', 'bfloat16' or 'float32', not {self.precision!r}")
        if bool(self.valid_src) != bool(self.valid_tgt):
            wrong.append("valid_src and valid_tgt go together")
        if len(self.tokenizer) > 2:
            wrong.append(f"tokenizer takes one file, or a source and a target file, not {len(self.tokenizer)}")
        if wrong:
            raise ModelError("; ".join(wrong))
