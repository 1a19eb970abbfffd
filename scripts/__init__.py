"""Set-up and upkeep of the project. Standard library only: these run before anything is installed."""

from __future__ import annotations
