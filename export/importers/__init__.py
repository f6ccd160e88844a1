"""Networks read from bundles and from other people's checkpoints."""
