"""Decoding: beam search, sampling, constraints, word alignment."""
