"""`python -m server.cli` is the same as `corral`."""

from __future__ import annotations

import sys

from server.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
