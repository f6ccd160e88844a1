"""A checkpoint's chat template, a Jinja program, as the strings that stand around the turns of a conversation.

The program runs at the import alone, in a sandbox, on conversations of marks. What it writes must be additive: the same
strings around each turn. heed never runs it again.
"""

import dataclasses
from collections.abc import Callable

from heed.models.spec.conventions import Conventions
from heed.models.text.chat import ChatTemplate

MARKS = ("⟦u0⟧", "⟦a0⟧", "⟦u1⟧", "⟦a1⟧", "⟦u2⟧")
SYSTEM = "⟦s⟧"
# What programs raise besides jinja2's own errors.
FAILURES = (TypeError, ValueError, KeyError, RecursionError, OverflowError, MemoryError)


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
    before_system = found.before_system and found.before_system.removeprefix(begin)
    beginning = (found.beginning or "").removeprefix(begin)
    return dataclasses.replace(found, beginning=beginning, before_system=before_system)


def chat_template(source: str, variables: dict[str, str], end: str) -> ChatTemplate | None:
    """The strings of a template; None where it is not additive, or jinja2 is not installed.

    Args:
        source: The Jinja program.
        variables: Texts that it may use, as bos_token.
        end: The text of the token that ends an answer.
    """
    try:
        import jinja2.sandbox
    except ImportError:
        return None
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def write(n: int, system: str | None = None) -> str | None:
        try:
            template = environment.from_string(source)
            return str(template.render(messages=_messages(n, system), add_generation_prompt=True, **variables))
        except (jinja2.TemplateError, *FAILURES):
            return None

    found = _strings([write(n) or "" for n in (1, 3, 5)], end)
    return found and _with_system(found, write(1, SYSTEM) or "", write(3, SYSTEM) or "")


def _messages(n: int, system: str | None) -> list[dict[str, str]]:
    """A conversation of n marks, at whose end the model is asked for an answer."""
    begun = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return begun + [{"role": roles[place % 2], "content": mark} for place, mark in enumerate(MARKS[:n])]


def _with_system(found: ChatTemplate, told: str, longer: str) -> ChatTemplate:
    """A template with the strings around instructions, where these stand at the beginning and change nothing else.

    Args:
        found: The template without.
        told: What is written of instructions and a turn.
        longer: The same with an answer and another turn.
    """
    before, _, rest = told.partition(SYSTEM)
    after, _, end = rest.partition(MARKS[0])
    turns = MARKS[0] + found.after_user + MARKS[1] + found.after_assistant + MARKS[2] + found.after_user
    if not told or end != found.after_user or longer != before + SYSTEM + after + turns:
        return found
    return dataclasses.replace(found, before_system=before, after_system=after)


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
