"""Lines, records and streams: how text comes in and goes out."""
