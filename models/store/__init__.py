"""The store of quantized models under CORRAL_HOME, with its manifests, locks and staging."""

from __future__ import annotations
