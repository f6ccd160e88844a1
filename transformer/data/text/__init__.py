"""Text files: lines, JSON lines, pairs, documents."""
