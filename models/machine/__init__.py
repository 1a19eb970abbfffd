"""This machine: its processor, memory and devices, and the fit of a model."""

from __future__ import annotations
