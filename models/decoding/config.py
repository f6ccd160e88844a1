"""How a search decodes, and the token ids that mean something to it."""

import dataclasses

from heed.models.errors import ModelError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How to search; the defaults are the paper's (section 6.1)."""

    beam_size: int = 4  # hypotheses kept for each sentence; 1 is greedy search
    length_penalty: float = 0.6  # α
    max_length: int | None = None  # tokens of output; None: 50 more than the source has

    def __post_init__(self) -> None:
        wrong = []
        if self.beam_size < 1:
            wrong.append(f"beam_size must be at least 1, not {self.beam_size!r}")
        if not 0 <= self.length_penalty <= 10:
            wrong.append(f"length_penalty must be a number from 0 to 10, not {self.length_penalty!r}")
        if self.max_length is not None and self.max_length < 1:
            wrong.append(f"max_length must be at least 1, not {self.max_length!r}")
        if wrong:
            raise ModelError("; ".join(wrong))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """The token ids of the target that mean something to the search."""

    bos_id: int  # begins every output that has no other prompt
    eos_id: int  # ends every output
    unk_id: int  # is never put out
