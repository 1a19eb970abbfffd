"""The messages between the measuring process and its parent: one JSON document per line.

The process gets one `Job`, answered by `Ready` or `Refused`; then any number of `MeasureRequest`, each
answered by `Figures` or `Refused`. It ends when its stdin does.
"""

from __future__ import annotations

import msgspec

from server.ipc.launch import SPIN_COUNT
from server.serve_options import ServeOptions


class Job(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """Load this file with these options; `options.ctx` is a multiple of 256 tokens."""

    path: str
    options: ServeOptions
    spin_count: int = SPIN_COUNT
    """A waiting thread spins for this many turns before it sleeps."""


class MeasureRequest(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """`streams` prompts of `prompt_tokens`, then `steps` steps; after `limit_s` each part ends early."""

    streams: int
    prompt_tokens: int
    steps: int
    repeats: int = 1
    """All of it is done this many times; the figures are means."""
    limit_s: float


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded, after `load_s` seconds."""

    load_s: float
    n_gpu_layers: int
    devices: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A message failed; the reason is llama.cpp's or ours."""

    message: str


class Figures(msgspec.Struct, frozen=True, kw_only=True, tag="figures"):
    """`prefill_s` is for `prefill_tokens`, which the limit may have cut; `step_s` the mean over `steps`."""

    prefill_s: float
    prefill_tokens: int
    step_s: float
    steps: int


ToMeasurer = Job | MeasureRequest
FromMeasurer = Ready | Refused | Figures
