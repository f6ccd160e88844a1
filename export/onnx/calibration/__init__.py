"""Calibration: what integers stand for, measured on text."""
