"""The settings of a training run."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

from heed.models.errors import ModelError
from heed.models.runs.settings import NOISES

# See heed.transformer.data.normalization.
NORMALIZATIONS = ("nfkc", "nfc")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of every run; the defaults are those of the paper's base model (section 5)."""

    limits_may_change: ClassVar[bool] = True  # whether the learning rate of a step does not depend on the last one

    init_from: str | None = None  # warm start: a run or a bundle with initial weights and vocabulary
    tokenizer: tuple[str, ...] = ()  # SentencePiece models: one joint, or source and target
    extend_vocabulary: int = 0  # pieces to learn and to add to those SentencePiece models
    vocab_size: int = 37000  # pieces to learn for each vocabulary
    batch_tokens: int = 25000  # tokens per batch and side, with padding (section 5.1)
    warmup: int = 4000  # warmup steps (section 5.3)
    precision: str = "auto"  # "bfloat16" or "float32"; "auto": bfloat16 if the device supports it
    steps: int | None = None  # maximum number of optimizer steps
    epochs: int | None = None  # maximum number of epochs
    minutes: float | None = None  # maximum time
    valid_every: int = 1000  # steps between two validations, each with a checkpoint
    average: int = 5  # number of last checkpoints averaged at the end (section 6.1)
    keep: int | None = None  # number of last checkpoints kept; None: as many as are averaged
    keep_best: int = 1  # number of best checkpoints kept as well
    best_by: str = "bleu"  # measure of the best checkpoint: "bleu" (with loss if there is none, and for ties) or "loss"
    patience: int | None = None  # early stopping: validations without a new best before training ends
    ema: float = 0.0  # decay of the moving average of weights that is validated and exported; 0: the weights themselves
    seed: int = 1
    skip_bad: bool | None = None  # pass over bad lines of files whose lines have fields; None: refuse them

    def __post_init__(self) -> None:
        if wrong := self._wrong():
            raise ModelError("; ".join(wrong))

    def _wrong(self) -> list[str]:
        """What is wrong with the settings."""
        sizes = ("vocab_size", "batch_tokens", "warmup", "valid_every", "average", "keep", "keep_best", "patience")
        wrong = self._not_above_zero(*sizes, "steps", "epochs", "minutes")
        if self.steps is self.epochs is self.minutes is None:
            wrong.append("one of steps, epochs and minutes must be given")
        if self.extend_vocabulary < 0 or (self.extend_vocabulary and not self.tokenizer):
            wrong.append("extend_vocabulary must be a number of pieces for the vocabulary of tokenizer or init_from")
        if not 0 <= self.seed < 2**63:
            wrong.append(f"seed must be at least 0 and below 2^63, not {self.seed!r}")
        if self.precision not in ("auto", "bfloat16", "float32"):
            wrong.append(f"precision must be 'auto', 'bfloat16' or 'float32', not {self.precision!r}")
        if self.best_by not in ("bleu", "loss"):
            wrong.append(f"best_by must be 'bleu' or 'loss', not {self.best_by!r}")
        if not 0 <= self.ema < 1:
            wrong.append(f"ema must be at least 0 and below 1, not {self.ema!r}")
        if self.keep is not None and self.keep < self.average:
            wrong.append(f"keep must be at least average {self.average!r}, not {self.keep!r}")
        return wrong

    def _wrong_skip(self, names: Sequence[str], forms: Sequence[str]) -> list[str]:
        """Whether `skip_bad` is given without a file that it is for."""
        if not self.skip_bad or any(form in name for name in names for form in forms):
            return []
        return [f"skip_bad needs training text in a file of {', '.join(forms)}"]

    @property
    def n_kept(self) -> int:
        """Number of last checkpoints kept."""
        return self.average if self.keep is None else self.keep

    def _not_above_zero(self, *names: str) -> list[str]:
        values = {name: getattr(self, name) for name in names}
        return [
            f"{name} must be a number above 0, not {value!r}"
            for name, value in values.items()
            if value is not None and not 0 < value < math.inf
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationConfig(TrainConfig):
    """A translation run."""

    src: tuple[str, ...] = ()  # source text files, one sentence per line
    tgt: tuple[str, ...] = ()  # target text files, translations line by line
    data: tuple[str, ...] = ()  # more pairs, each FILE.tsv, FILE.csv, FILE.jsonl or SOURCE,TARGET, and :WEIGHT
    src_field: str | None = None  # of data in one file: the source's column, or its field; None: 1, or src
    tgt_field: str | None = None  # the target's; None: 2, or tgt
    valid_src: tuple[str, ...] = ()  # validation text; without it, training pairs are held out
    valid_tgt: tuple[str, ...] = ()
    src_language: str = ""  # for the model card, such as "en"
    tgt_language: str = ""
    joint: bool = True  # learn one vocabulary for both sides
    src_normalization: str = "nfkc"  # what a learnt vocabulary does to sources; see heed.transformer.data.normalization
    tgt_normalization: str = "nfc"  # and to targets, which come out as they were learnt
    max_length: int = 128  # tokens; pairs with a longer side are dropped
    max_ratio: float | None = (
        None  # maximum ratio of the longer side to the shorter, in tokens; other pairs are dropped
    )
    deduplicate: bool = False  # drop duplicate pairs
    subword_sampling: float = 0.0  # subword regularization: share of merges skipped; 0: none
    copy_augment: float = 0.0  # share of the pairs with a name or number on both sides that get another one
    case_augment: float = 0.0  # share of the pairs that are written in capitals, or as titles
    guided_alignment: float = 0.0  # weight of the loss that guides a head to what is copied; 0: none
    learning_rate_scale: float = 1.0  # factor of the paper's schedule
    label_smoothing: float = 0.1  # ε_ls (section 5.4)

    def _wrong(self) -> list[str]:
        wrong = super()._wrong() + self._not_above_zero("max_length", "learning_rate_scale")
        wrong += self._wrong_skip(self.data, (".jsonl", ".tsv", ".csv"))
        wrong += [
            f"{name} must be a share from 0 to 1, not {getattr(self, name)!r}"
            for name in ("copy_augment", "case_augment")
            if not 0 <= getattr(self, name) <= 1
        ]
        if not 0 <= self.guided_alignment < math.inf:
            wrong.append(f"guided_alignment must be a number of at least 0, not {self.guided_alignment!r}")
        if not self.src and not self.tgt and not self.data:
            wrong.append("src and tgt, or data, must name files")
        if self.max_ratio is not None and not 1 <= self.max_ratio < math.inf:
            wrong.append(f"max_ratio must be a number of at least 1, not {self.max_ratio!r}")
        if not 0 <= self.subword_sampling < 1:
            wrong.append(f"subword_sampling must be at least 0 and below 1, not {self.subword_sampling!r}")
        if not 0 <= self.label_smoothing < 1:
            wrong.append(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing!r}")
        for name in ("src_normalization", "tgt_normalization"):
            if getattr(self, name) not in NORMALIZATIONS:
                wrong.append(f"{name} must be 'nfkc' or 'nfc', not {getattr(self, name)!r}")
        if bool(self.valid_src) != bool(self.valid_tgt):
            wrong.append("valid_src and valid_tgt must be given together")
        if len(self.tokenizer) > 2:
            wrong.append(f"tokenizer takes one file, or a source and a target file, not {len(self.tokenizer)}")
        return wrong

    @property
    def augments(self) -> bool:
        """Whether pairs are changed."""
        return self.copy_augment > 0 or self.case_augment > 0

    @property
    def varies(self) -> bool:
        """Whether pairs differ each time that they are learnt, so that their texts are needed."""
        return self.augments or self.subword_sampling > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingConfig(TranslationConfig):
    """A run that learns to restore lines of text, which are their own translations."""

    noise: str = "infilling"  # "infilling" as in BART, or "spans" as in T5
    mask_share: float = 0.3  # share of the tokens in spans that are replaced
    span_length: float = 3.0  # mean length of these spans, in tokens

    def _wrong(self) -> list[str]:
        wrong = super()._wrong()
        if self.noise not in NOISES:
            wrong.append(f"noise must be one of {', '.join(map(repr, NOISES))}, not {self.noise!r}")
        if not 0 < self.mask_share < 1:
            wrong.append(f"mask_share must be above 0 and below 1, not {self.mask_share!r}")
        if not self.span_length >= 1:
            wrong.append(f"span_length must be at least 1, not {self.span_length!r}")
        if self.augments:
            wrong.append("copy_augment and case_augment are for pairs, and not for denoising")
        if not self.joint:
            wrong.append("joint must be true for denoising: both sides are the same text")
        return wrong

    @property
    def varies(self) -> bool:
        """See `TranslationConfig`."""
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig(TrainConfig):
    """A run that learns to continue a text."""

    limits_may_change = False

    text: tuple[str, ...] = ()  # files; a .txt is one text, a .jsonl has one per line
    pairs: tuple[str, ...] = ()  # .jsonl files of prompts and completions; only completions are learnt
    valid_text: tuple[str, ...] = ()  # validation text; without it, some is held out
    valid_pairs: tuple[str, ...] = ()
    text_field: str = "text"  # field of a .jsonl with the text
    learning_rate: float = 6e-4  # peak after warmup; then it decays to a tenth by half a cosine
    weight_decay: float = 0.1  # of matrices

    def _wrong(self) -> list[str]:
        wrong = super()._wrong() + self._not_above_zero("learning_rate")
        wrong += self._wrong_skip((*self.text, *self.pairs), (".jsonl",))
        if not self.text and not self.pairs:
            wrong.append("text or pairs must name a file")
        if not 0 <= self.weight_decay < 1:
            wrong.append(f"weight_decay must be at least 0 and below 1, not {self.weight_decay!r}")
        if len(self.tokenizer) > 1:
            wrong.append(f"tokenizer takes one file, not {len(self.tokenizer)}")
        return wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedConfig(TextConfig):
    """A run that learns to fill masks in a text."""

    mask_share: float = 0.15  # share of the tokens that are predicted

    def _wrong(self) -> list[str]:
        wrong = super()._wrong()
        if self.pairs or self.valid_pairs:
            wrong.append("pairs are for models that continue a text, and not for masks; give text")
        if not 0 < self.mask_share < 1:
            wrong.append(f"mask_share must be above 0 and below 1, not {self.mask_share!r}")
        return wrong
