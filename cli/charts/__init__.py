"""Plots of training runs on a terminal, as SVG, PNG and HTML."""
