"""Large jobs: many files in blocks of lines, done by workers here or on a Ray cluster."""
