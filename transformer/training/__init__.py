"""Training: objectives, loss, optimizer steps, distributed processes."""
