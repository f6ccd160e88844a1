"""Where the installed program starts."""

import gc
import os
import sys

# Objects that Python makes before it looks for cycles among them. Imports make some hundred thousand, next to none of
# which go: looking at them 200 times took a twentieth of a start.
MANY = 200_000
# Words of memory that the frame of `start` asks for. CPython keeps the frames of nested calls in pieces of 16 KiB. It
# asks the system for another piece whenever a call goes beyond the last one, and gives it back when the call returns:
# imports, which nest deep, did so nine hundred times, a twenty-fifth of a start. A frame of 256 KiB gets a piece of
# 512 KiB, and the rest holds the frames of all calls.
ROOM = 1 << 15


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


start.__code__ = start.__code__.replace(co_stacksize=ROOM)
