"""Commands that make models and manage them: train, runs, export, import, models."""
