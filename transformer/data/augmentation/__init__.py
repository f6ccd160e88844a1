"""Pairs that teach more than they say: copying, and sentences in capitals."""
