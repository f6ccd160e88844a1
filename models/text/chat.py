"""A conversation as the text that a language model goes on with."""

import dataclasses
from collections.abc import Callable

from heed.models.errors import DataError, ModelError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """What stands around the turns of a conversation; the default is plain text with names."""

    before_user: str = "User: "
    after_user: str = "\n"
    before_assistant: str = "Assistant:"  # what the model goes on with
    after_assistant: str = "\n"  # before the next turn; the model itself ends with a stop string, or by its end token
    stop: tuple[str, ...] = ("\nUser:",)  # what ends an answer
    beginning: str | None = None  # what a conversation begins with, as a system's instructions

    def __post_init__(self) -> None:
        if not all(self.stop):
            raise ModelError(f"stop must hold no empty text, not {self.stop!r}")


class Conversation:
    """Turns of a person and a model.

    Args:
        template: How they are written.
        count: How many tokens a text has.
        room: Tokens that a prompt may have.
    """

    def __init__(self, template: ChatTemplate, count: Callable[[str], int], room: int) -> None:
        self.n_forgotten = 0  # turns that had to be left out, the oldest first
        self._template, self._count, self._room = template, count, room
        self._turns: list[tuple[str, str]] = []

    def ask(self, message: str) -> str:
        """The prompt for an answer to a message; where all is too long, the oldest turns are left out for good.

        Raises:
            DataError: The message alone is too long.
        """
        question = self._question(message)
        if self._count(question) > self._room:
            raise DataError(
                f"the message has {self._count(question):,} tokens, and {self._room:,} have room; say it in fewer words"
            )
        beginning = self._template.beginning or ""
        while self._count(prompt := beginning + "".join(map(self._written, self._turns)) + question) > self._room:
            del self._turns[0]
            self.n_forgotten += 1
        return prompt

    def add(self, message: str, answer: str) -> None:
        """Remember a turn."""
        self._turns.append((message, answer))

    def _question(self, message: str) -> str:
        template = self._template
        return template.before_user + message + template.after_user + template.before_assistant

    def _written(self, turn: tuple[str, str]) -> str:
        message, answer = turn
        return self._question(message) + answer + self._template.after_assistant
