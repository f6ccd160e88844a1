"""Tokens as they come to text that can be shown: whole characters, up to a stop string."""

import codecs
from collections.abc import Sequence

from heed.models.tokenizers.protocol import PlainTokenizer


class TextStream:
    """The text of tokens, in pieces of which none has to be taken back.

    What may become a stop string is held back until it is decided. The text ends before the stop string that is
    complete first; of several that end with the same character, before the longest. So however the text is cut into
    tokens, it ends at one place, and no stop string is in it.

    Args:
        tokenizer: Of the tokens.
        stop: The stop strings.
    """

    def __init__(self, tokenizer: PlainTokenizer, stop: Sequence[str] = ()) -> None:
        self.text = ""  # all that was decided
        self.stopped = False
        self._tokenizer, self._stop = tokenizer, stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def push(self, token: int) -> str:
        """Take a token; returns the text that it decides."""
        return self._add(self._decoder.decode(self._tokenizer.token_bytes([token])))

    def close(self) -> str:
        """Decide the rest: no token follows. Bytes that are no whole character become U+FFFD."""
        decided = self._add(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        self.text += rest
        return decided + rest

    def _add(self, text: str) -> str:
        if not self._stop:
            self.text += text
            return text
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            decided, self._held = self._held[: min(found)[1]], ""
        else:
            cut = len(self._held) - max((_begun(self._held, stop) for stop in self._stop), default=0)
            decided, self._held = self._held[:cut], self._held[cut:]
        self.text += decided
        return decided


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop string, which is not in it."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
