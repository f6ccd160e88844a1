"""Lines, records and streams: input and output of text."""
