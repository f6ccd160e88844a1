"""What can be wrong with the values of a description."""

from heed.models.errors import ModelError


def below_one(spec: object, *names: str) -> list[str]:
    """What is wrong with numbers that must be at least 1; None is none of them."""
    values = {name: getattr(spec, name) for name in names}
    return [
        f"{name} must be at least 1, not {value!r}" for name, value in values.items() if value is not None and value < 1
    ]


def no_choice(name: str, value: object, choices: tuple[str, ...]) -> list[str]:
    """What is wrong with a value that must be one of some."""
    return [] if value in choices else [f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"]


def refuse(wrong: list[str]) -> None:
    """Raise a ModelError of all that is wrong, if anything is."""
    if wrong:
        raise ModelError("; ".join(wrong))
