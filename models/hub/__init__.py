"""The Hugging Face Hub: plans of downloads, transfers into its cache, and its errors."""

from __future__ import annotations
