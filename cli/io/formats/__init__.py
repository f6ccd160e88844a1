"""Formats of files: what of a file is translated, and how the rest passes byte for byte."""
