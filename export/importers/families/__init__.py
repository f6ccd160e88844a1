"""Families of networks: a file each, with its maps of configuration, names of tensors, and tokenizer."""
