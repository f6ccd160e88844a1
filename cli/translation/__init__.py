"""The work behind `heed translate`: the protected parts of a text, and files."""
