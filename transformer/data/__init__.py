"""Training data: files, filters, held-out text, vocabularies, shortlists."""
