"""From files to text that can be learnt from."""
