"""Translation: the translator, what it protects, what it repairs, and word alignment."""
