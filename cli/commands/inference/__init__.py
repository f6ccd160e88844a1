"""Commands that use models: translate, generate, fill, embed, align, score, evaluate, serve."""
