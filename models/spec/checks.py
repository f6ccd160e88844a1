"""Checks of values in a specification."""

from heed.models.errors import ModelError


def below_one(spec: object, *names: str) -> list[str]:
    """Errors for numbers below 1; None is allowed."""
    values = {name: getattr(spec, name) for name in names}
    return [
        f"{name} must be at least 1, not {value!r}" for name, value in values.items() if value is not None and value < 1
    ]


def no_choice(name: str, value: object, choices: tuple[str, ...]) -> list[str]:
    """Errors for a value that is not one of the choices."""
    return [] if value in choices else [f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"]


def refuse(wrong: list[str]) -> None:
    """Raise a ModelError with all errors, if there are any."""
    if wrong:
        raise ModelError("; ".join(wrong))
