"""Matrix products and dropout, as fast as PyTorch makes them on a CPU."""
