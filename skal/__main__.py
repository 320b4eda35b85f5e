"""``python -m skal``: compare query strategies on a data set."""

import sys

from skal._cli import main

if __name__ == "__main__":
    sys.exit(main())
