"""Checkpoints as files: their configuration and their tensors, each read when it is needed."""
