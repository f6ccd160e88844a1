"""From text files to a run that is ready to train: vocabulary, held-out text, token cache."""
