"""Corral's version, for the package metadata and the command line."""

from __future__ import annotations

VERSION = "0.1.0"
