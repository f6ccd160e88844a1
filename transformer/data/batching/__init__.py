"""Batches of token ids: token cache, order, bucketing, packing, prefetch."""
