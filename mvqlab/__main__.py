"""``python -m mvqlab`` is the command `mvqlab`."""

import sys

from mvqlab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
