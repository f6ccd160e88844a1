"""Where the installed program starts."""

import sys


def start() -> None:
    """Import the commands and run them; Ctrl-C during the import prints no traceback."""
    try:
        from heed.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
