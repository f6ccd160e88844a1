"""The operating system: files, compression, processors and memory."""
