"""Networks read from bundles and from other people's checkpoints: a reader for each format, a file for each family."""
