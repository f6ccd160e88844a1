"""Where the installed program starts."""

import gc
import os
import sys

# Objects that Python makes before it looks for cycles among them. Imports make some hundred thousand, next to none of
# which go: looking at them 200 times took a twentieth of a start.
MANY = 200_000


def start() -> None:
    """Import the commands and run them; Ctrl-C during the import prints no traceback."""
    gc.set_threshold(MANY)
    # NumPy multiplies no large matrices here, and its threads would be started, with memory for each, by the import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from heed.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
