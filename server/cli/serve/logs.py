"""The server's log: one line per event, to stderr."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr(level: str) -> None:
    """Ours from `level` on, everybody else's from warning on."""
    everything = logging.getLogger().isEnabledFor(logging.DEBUG)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format=FORMAT, datefmt="%H:%M:%S", force=True
    )
    logging.getLogger("corral").setLevel(logging.DEBUG if everything else level.upper())
