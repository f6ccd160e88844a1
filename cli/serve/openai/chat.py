"""Conversations as prompts."""

from typing import TYPE_CHECKING

from heed.cli.serve.bodies import Message
from heed.cli.serve.refusal import Refusal
from heed.models.text.chat import ChatTemplate

if TYPE_CHECKING:
    from heed.models.tasks.generator import Generator


def template_of(generator: "Generator") -> ChatTemplate:
    """A model's own format of conversations, or plain text with names."""
    return generator.chat_template or ChatTemplate()


def chat_prompt(generator: "Generator", messages: list[Message], max_tokens: int | None) -> str:
    """The prompt for the answer to the last message.

    Instructions, which are no turn of most formats, precede the first message of the user.

    Raises:
        Refusal: The messages do not alternate, or are too long for the model.
    """
    instructions = [message.text for message in messages if message.role in ("system", "developer")]
    turns = [message for message in messages if message.role in ("user", "assistant")]
    roles = [message.role for message in turns]
    if len(roles) % 2 == 0 or roles != [("user", "assistant")[i % 2] for i in range(len(roles))]:
        raise Refusal(400, "the messages must alternate between user and assistant, and end with the user's")
    texts = [message.text for message in turns]
    texts[0] = "\n\n".join([*instructions, texts[0]])
    answered = zip(texts[::2], texts[1::2], strict=False)
    prompt = template_of(generator).prompt(answered, texts[-1])
    n_tokens, room = len(generator.tokenizer.encode(prompt)), generator.prompt_room(max_tokens)
    if n_tokens > room:
        raise Refusal(
            400,
            f"the conversation has {n_tokens:,} tokens, but only {room:,} leave room for an answer; "
            "leave out its first turns",
            "context_length_exceeded",
        )
    return prompt
