"""Settings of the search, and the special token ids it uses."""

from typing import TYPE_CHECKING, NamedTuple, Self

from heed.models.errors import ModelError
from heed.models.records import record

if TYPE_CHECKING:
    from heed.models.tokenizers.protocol import Special

ROOM = 50  # default limit of an output: this many tokens more than its source (section 6.1)


@record(frozen=True, kw_only=True)
class DecodeConfig:
    """Settings of beam search; the defaults are the paper's (section 6.1)."""

    beam_size: int = 4  # hypotheses kept for each sentence; 1 is greedy search
    length_penalty: float = 0.6  # α
    max_length: int | None = None  # maximum tokens of output; None: ROOM more than the source
    min_length: int | None = None  # tokens of output before it may end
    by_length: bool | None = None  # whether scores are over n^α, as in transformers, and not over ((5 + n) / 6)^α
    stop: str | None = None  # a sentence is done when "beam_size" hypotheses ended, or when these are no worse than
    # those alive at their "present" length; None: when none alive can still be among the best
    repetition_penalty: float | None = (
        None  # factor of the log-probabilities of the output's own tokens (arXiv 1909.05858)
    )
    no_repeat_ngram: int | None = None  # forbid repeating any N-gram of tokens (arXiv 1705.04304)
    end_forced: bool | None = None  # the last token within max_length is the end, at no cost (forced_eos_token_id)
    beam_threshold: float | None = None  # nats; drop hypotheses so far behind the best (arXiv 1702.01806); None: none

    def __post_init__(self) -> None:
        wrong = []
        if self.beam_size < 1:
            wrong.append(f"beam_size must be at least 1, not {self.beam_size!r}")
        if not 0 <= self.length_penalty <= 10:
            wrong.append(f"length_penalty must be a number from 0 to 10, not {self.length_penalty!r}")
        if self.beam_threshold is not None and not self.beam_threshold > 0:
            wrong.append(f"beam_threshold must be a number above 0, not {self.beam_threshold!r}")
        if self.max_length is not None and self.max_length < 1:
            wrong.append(f"max_length must be at least 1, not {self.max_length!r}")
        if self.min_length is not None and self.min_length < 0:
            wrong.append(f"min_length must be at least 0, not {self.min_length!r}")
        if self.stop not in (None, "beam_size", "present"):
            wrong.append(f"stop must be 'beam_size' or 'present', not {self.stop!r}")
        if self.repetition_penalty is not None and not 1 <= self.repetition_penalty <= 100:
            wrong.append(f"repetition_penalty must be a number from 1 to 100, not {self.repetition_penalty!r}")
        if self.no_repeat_ngram is not None and self.no_repeat_ngram < 1:
            wrong.append(f"no_repeat_ngram must be at least 1, not {self.no_repeat_ngram!r}")
        if wrong:
            raise ModelError("; ".join(wrong))


class SpecialIds(NamedTuple):
    """The special token ids of the target."""

    bos_id: int  # precedes every output without another prompt
    eos_id: int  # ends every output
    suppressed: tuple[int, ...]  # never part of an output, in search or sampling
    ends: tuple[int, ...] = ()  # others that end outputs
    forced: tuple[int, ...] = ()  # what every output begins with after `bos_id`, as a token of its language
    blank: tuple[int, ...] | None = None  # tokens without text: an output must have others, too; None: it may be empty

    @classmethod
    def of(cls, tokenizer: "Special", blank: tuple[int, ...] | None = None) -> Self:
        """Those of a tokenizer."""
        return cls(
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            ends=tuple(each for each in tokenizer.ends if each != tokenizer.eos_id),
            forced=tokenizer.forced,
            suppressed=tokenizer.suppressed,
            blank=blank,
        )


@record(frozen=True, kw_only=True)
class AlignmentHeads:
    """The cross-attention heads that align words; chosen when a model is exported."""

    layer: int  # of the decoder, from 0
    heads: tuple[int, ...]  # from 0; their weights are averaged
    ahead: bool  # whether a token's weights are those by which it was predicted, and not those with which it is read
    agreement: float  # share of tokens for which they find the source token that is missed most when hidden
