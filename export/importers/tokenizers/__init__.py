"""Tokenizers of other people's checkpoints."""
