"""Corral's version: the one place that holds it. The package metadata and the command line read it from here."""

from __future__ import annotations

VERSION = "0.1.0"
