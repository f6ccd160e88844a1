"""Matrix products and dropout, tuned for CPUs."""
