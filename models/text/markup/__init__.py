"""Mark-up and placeholders in a text."""
