"""The errors that a user can meet; the command line turns each into one line and an exit code."""


class HeedError(Exception):
    """Something the user can put right; the message says where, what, and the way out."""

    exit_code = 1


class DataError(HeedError):
    """Text or a data file that cannot be used."""

    exit_code = 3


class ModelError(HeedError):
    """A model, run, bundle or tokenizer that cannot be used."""

    exit_code = 4
