"""The network of "Attention Is All You Need" (arXiv 1706.03762) and its training, in PyTorch.

Shapes are written with these letters throughout the project:
    B batch, S source length, T target length, D d_model, H heads, K d_head, F d_ff, V vocabulary,
    W beam. P is the number of positions that a key/value cache already holds.
"""
