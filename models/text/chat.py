"""A conversation as a text that a language model continues."""

from collections.abc import Callable, Iterable

from heed.models.errors import DataError, ModelError
from heed.models.records import record


@record(frozen=True, kw_only=True)
class ChatTemplate:
    """The text around the turns of a conversation; the default is plain text with names."""

    before_user: str = "User: "
    after_user: str = "\n"
    before_assistant: str = "Assistant:"  # precedes the answer, which the model continues
    after_assistant: str = "\n"  # precedes the next turn; the model ends its answer with a stop string or the end token
    stop: tuple[str, ...] = ("\nUser:",)  # texts that end an answer
    beginning: str | None = None  # what a conversation begins with, where nobody gives instructions
    before_system: str | None = None  # what it begins with before instructions to the model; None: it takes none
    after_system: str | None = None

    def __post_init__(self) -> None:
        if not all(self.stop):
            raise ModelError(f"stop must not contain an empty text: {self.stop!r}")

    def prompt(self, turns: Iterable[tuple[str, str]], message: str, system: str | None = None) -> str:
        """The text before the answer to a message, given the turns before it: messages and answers.

        Args:
            turns: Messages and answers.
            message: To be answered.
            system: Instructions to the model; see `begun`.

        Raises:
            ModelError: The model takes no instructions.
        """
        written = (self.question(asked) + answered + self.after_assistant for asked, answered in turns)
        return self.begun(system) + "".join(written) + self.question(message)

    def question(self, message: str) -> str:
        """A message, and what precedes its answer."""
        return self.before_user + message + self.after_user + self.before_assistant

    def begun(self, system: str | None) -> str:
        """What a conversation begins with.

        Args:
            system: Instructions to the model; None: those that it was taught with, if any.

        Raises:
            ModelError: The model takes none.
        """
        if system is None:
            return self.beginning or ""
        if self.before_system is None:
            raise ModelError("the model's chat template has no place for instructions (a system prompt)")
        return self.before_system + system + (self.after_system or "")


class Conversation:
    """The turns of a person and a model.

    Args:
        template: Format of the conversation.
        count: Counts the tokens of a text.
        room: Maximum number of tokens of a prompt.
        system: Instructions to the model; see `ChatTemplate.begun`.

    Raises:
        ModelError: The model takes no instructions.
    """

    def __init__(
        self, template: ChatTemplate, count: Callable[[str], int], room: int, system: str | None = None
    ) -> None:
        template.begun(system)  # refused now rather than at the first question
        self._system = system
        self.n_forgotten = 0  # number of turns dropped, the oldest first
        self._template, self._count, self._room = template, count, room
        self._turns: list[tuple[str, str]] = []

    def ask(self, message: str) -> str:
        """The prompt for the answer to a message; if it is too long, the oldest turns are dropped for good.

        Raises:
            DataError: The message is too long, even without the turns before it.
        """
        n_tokens = self._count(self._template.prompt([], message, self._system))
        if n_tokens > self._room:
            what = "the message" if self._system is None else "the message, with the instructions before it,"
            raise DataError(f"{what} has {n_tokens:,} tokens, but only {self._room:,} fit; shorten it")
        while self._count(prompt := self._template.prompt(self._turns, message, self._system)) > self._room:
            del self._turns[0]
            self.n_forgotten += 1
        return prompt

    def add(self, message: str, answer: str) -> None:
        """Add a turn."""
        self._turns.append((message, answer))
