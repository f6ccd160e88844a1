"""A model on disk: its manifest, its integrity, and the names of models."""
