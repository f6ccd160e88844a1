"""What a training run writes of itself, read without torch."""
