"""``python -m webbalign`` is the command ``webbalign``."""

import sys

from webbalign.cli import main

if __name__ == "__main__":
    sys.exit(main())
