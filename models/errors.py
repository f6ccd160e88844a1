"""Errors that a user can correct; the command line turns each into one line and an exit code."""


class HeedError(Exception):
    """An error that the user can correct; the message says where, what is wrong, and what to do."""

    exit_code = 1


class DataError(HeedError):
    """A text or data file cannot be used."""

    exit_code = 3


class ModelError(HeedError):
    """A model, run, bundle or tokenizer cannot be used."""

    exit_code = 4
