"""From a network's predictions to tokens: beam search, sampling, constraints, word alignment."""
