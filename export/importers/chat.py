"""A checkpoint's chat template, a Jinja program, as the strings that stand around the turns of a conversation.

The program runs at the import alone, in a sandbox, on conversations of marks. What it writes must be additive: the same
strings around each turn. heed never runs it again.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from heed.models.spec.conventions import Conventions
from heed.models.text.chat import ChatTemplate

MARKS = ("⟦u0⟧", "⟦a0⟧", "⟦u1⟧", "⟦a1⟧", "⟦u2⟧")


def chat_of(source: object, text_of: Callable[[int], str], conventions: Conventions) -> ChatTemplate | None:
    """The strings of a checkpoint's chat template; None where there is none, or none that is additive.

    Args:
        source: The Jinja program.
        text_of: What gives the text of a token.
        conventions: Of the model.
    """
    if not isinstance(source, str):
        return None
    begin, end = text_of(conventions.start_id), text_of(conventions.eos_id)
    found = chat_template(source, {"bos_token": begin, "eos_token": end}, end)
    if found is None or not conventions.starts_texts:
        return found
    # What begins every text is put there again.
    return dataclasses.replace(found, beginning=(found.beginning or "").removeprefix(begin))


def chat_template(source: str, variables: dict[str, str], end: str) -> ChatTemplate | None:
    """The strings of a template; None where it is not additive, or jinja2 is not installed.

    Args:
        source: The Jinja program.
        variables: Texts that it may use, as bos_token.
        end: The text of the token that ends an answer.
    """
    try:
        import jinja2
        import jinja2.sandbox
    except ImportError:
        return None
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        template = environment.from_string(source)
        written = [_write(template, n, variables) for n in (1, 3, 5)]
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, RecursionError, OverflowError, MemoryError):
        return None
    return _strings(written, end)


def _write(template: Any, n: int, variables: dict[str, str]) -> str:
    """A conversation of n marks, at whose end the model is asked for an answer."""
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": mark} for place, mark in enumerate(MARKS[:n])]
    return str(template.render(messages=messages, add_generation_prompt=True, **variables))


def _strings(written: list[str], end: str) -> ChatTemplate | None:
    """The strings around turns, where they are the same around each."""
    first, _, after = written[0].partition(MARKS[0])
    whole, between = written[1], ""
    _, found, rest = whole.partition(MARKS[1])
    between, found_too, _ = rest.partition(MARKS[2])
    if not found or not found_too:
        return None
    expected = [first + MARKS[0] + after]
    for answer, question in ((MARKS[1], MARKS[2]), (MARKS[3], MARKS[4])):
        expected.append(expected[-1] + answer + between + question + after)
    if written != expected or (end and not between.startswith(end)):
        return None
    return ChatTemplate(
        beginning=first, before_user="", after_user=after, before_assistant="", after_assistant=between, stop=()
    )
