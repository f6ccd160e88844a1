"""The entry points for users: Translator, Generator, Scorer."""
