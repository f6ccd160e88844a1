"""The work behind `heed train`: a new run, its teacher, and the session."""
