"""Where the installed program starts."""

import os
import sys


def start() -> None:
    """Import the commands and run them; Ctrl-C in the meantime needs no traceback."""
    # NumPy multiplies no large matrices here, and its threads would be started, with memory for each, by the import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from heed.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
