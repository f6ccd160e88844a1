"""Files, compression, processors and memory of the operating system."""
