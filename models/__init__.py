"""A model as its user meets it, without torch: configuration, tokenizer, bundle, search, translator."""
