"""What is minimized: the loss of a batch, and what validation measures."""
