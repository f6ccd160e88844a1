"""How a search decodes, and the token ids that mean something to it."""

import dataclasses

from heed.models.errors import ModelError

ROOM = 50  # tokens that an output may have more than its source, where nothing else is asked (section 6.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How to search; the defaults are the paper's (section 6.1)."""

    beam_size: int = 4  # hypotheses kept for each sentence; 1 is greedy search
    length_penalty: float = 0.6  # α
    max_length: int | None = None  # tokens of output; None: ROOM more than the source has
    repetition_penalty: float | None = None  # log-probabilities of the output's own tokens are times it (1909.05858)
    no_repeat_ngram: int | None = None  # no n-gram of tokens comes twice in an output (arXiv 1705.04304)

    def __post_init__(self) -> None:
        wrong = []
        if self.beam_size < 1:
            wrong.append(f"beam_size must be at least 1, not {self.beam_size!r}")
        if not 0 <= self.length_penalty <= 10:
            wrong.append(f"length_penalty must be a number from 0 to 10, not {self.length_penalty!r}")
        if self.max_length is not None and self.max_length < 1:
            wrong.append(f"max_length must be at least 1, not {self.max_length!r}")
        if self.repetition_penalty is not None and not 1 <= self.repetition_penalty <= 100:
            wrong.append(f"repetition_penalty must be a number from 1 to 100, not {self.repetition_penalty!r}")
        if self.no_repeat_ngram is not None and self.no_repeat_ngram < 1:
            wrong.append(f"no_repeat_ngram must be at least 1, not {self.no_repeat_ngram!r}")
        if wrong:
            raise ModelError("; ".join(wrong))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """The token ids of the target that mean something to the search."""

    bos_id: int | None  # begins every output; None: an output goes on from the last token of its source
    eos_id: int  # ends every output
    suppressed: tuple[int, ...]  # never put out, in a search or in a sample
    blank: tuple[int, ...] | None = None  # no text: an output has other tokens, too; None: it may be empty
