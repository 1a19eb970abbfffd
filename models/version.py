"""Corral's version: the one place that holds it; the package metadata and the command line read it here."""

from __future__ import annotations

VERSION = "0.1.0"
