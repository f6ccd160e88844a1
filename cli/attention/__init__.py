"""Attention on a terminal and as a page."""
