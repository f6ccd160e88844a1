"""What answers the blocks of each command: it holds settings, and loads the model where it works.

Models are imported where they are loaded: who sends blocks needs none.
"""
