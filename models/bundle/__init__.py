"""A model on disk: manifest, integrity check, and model names."""
