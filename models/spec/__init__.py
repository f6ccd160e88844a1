"""The description of a network, and the presets."""
