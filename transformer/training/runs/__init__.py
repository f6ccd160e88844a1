"""A training run on disk: settings, checkpoints, log."""
