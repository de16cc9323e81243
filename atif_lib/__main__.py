"""Run the command line: ``python -m atif_lib``."""

import sys

from atif_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
