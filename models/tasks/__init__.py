"""What users call: Translator, Generator, Scorer."""
