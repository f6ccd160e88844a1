"""What `heed generate --batch` makes of prompts, one in a line: JSON objects."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from heed.cli.batch.job import Answer, Block, Numbering
from heed.cli.batch.workers.generation import PromptRequest
from heed.cli.io.inputs import read_lines, warn_replaced
from heed.cli.io.records import Decoder
from heed.models.errors import DataError

if TYPE_CHECKING:
    from heed.models.tasks.generator import Generation

WINDOW = 256  # lines of a batch that are read ahead, if they have arrived
INVITATION = "Type prompts, one per line; Ctrl-D ends."


def json_lines(where: Mapping[str, object], prompt: str, found: "Sequence[Generation]", seed: int | None) -> str:
    """Texts as JSON lines; `seed` is that of the random numbers, if there were any."""
    lines = []
    for number, generation in enumerate(found):
        parts = dataclasses.asdict(generation)
        record = {**where, "sample": number, "prompt": prompt, "completion": parts.pop("text")} | parts
        lines.append(json.dumps(record if seed is None else record | {"seed": seed}, ensure_ascii=False) + "\n")
    return "".join(lines)


class PromptJob:
    """The prompts of some inputs, which become an output.

    Args:
        names: Of the inputs.
        output: Path or URL; empty: stdout.
        seed: Of the random numbers, if there are any.
        note: What the output depends on, besides the prompts.
    """

    position = 0

    def __init__(self, names: tuple[str, ...], output: str, seed: int | None, note: Mapping[str, object]) -> None:
        self.output = output
        self._names, self._seed, self._note = names, seed, note
        self._decoder = Decoder()
        self._n_lines = self._n_refused = 0

    def blocks(self) -> Iterator[Block]:
        """See `FileJob`."""
        lists = read_lines(self._names, self._decoder, WINDOW, invitation=INVITATION)
        return Numbering(self._note).blocks(lists, self._request)

    def _request(self, first: int, prompts: list[str]) -> PromptRequest:
        return PromptRequest(prompts, range(first, first + len(prompts)))

    def written(self, block: Block, answer: Answer) -> bytes:
        """See `FileJob`; a refused prompt is told in its place."""
        lines = []
        for number, (prompt, found) in enumerate(zip(block.records, answer.result, strict=True), start=block.first + 1):
            if isinstance(found, str):
                lines.append(json.dumps({"line": number, "prompt": prompt, "error": found}, ensure_ascii=False) + "\n")
                self._n_refused += 1
            else:
                lines.append(json_lines({"line": number}, prompt, found, self._seed))
        self._n_lines += len(block.records)
        return "".join(lines).encode()

    def close(self) -> None:
        """See `FileJob`.

        Raises:
            DataError: Prompts were refused.
        """
        warn_replaced(self._decoder)
        if self._n_refused:
            raise DataError(
                f"{self._n_refused} of {self._n_lines} prompts were refused; the error in each line says why"
            )
