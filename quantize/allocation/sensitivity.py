"""The sensitivity of tensors: a weighted error each, scaled by what a trial of its group really cost.

For every tensor and candidate type the weighted squared error is computed, which is cheap. What a unit of it
costs in KL divergence differs from tensor to tensor by orders of magnitude, so each group (tensors of one
kind in neighbouring layers; one tensor, where the model has few) is encoded once as the probe's type and the
divergence measured. Small losses of different tensors add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.allocation.candidates import Candidate
from quantize.allocation.solve import Losses
from quantize.allocation.trial import TrialModel
from quantize.calibration.tensor_encoder import kind_of
from quantize.control import JobControl

DEFAULT_PROBES: Final = 256
"""There are at most this many groups, and so trials, unless the caller says otherwise."""


def measure_losses(
    model: TrialModel,
    options: Mapping[str, Sequence[Candidate]],
    *,
    max_probes: int = DEFAULT_PROBES,
    control: JobControl,
) -> Losses:
    """Return the expected loss, in nats of mean KL divergence, of each tensor's candidates. Blocks.

    Nothing is lost by a tensor that the model doesn't compute with. Raises Cancelled.
    """
    names = [name for name in options if name in model.weights]
    groups = group_tensors(names, max_probes)
    losses: dict[str, dict[Candidate, float]] = {
        name: dict.fromkeys(some, 0.0) for name, some in options.items()
    }
    with control.counter("probes") as on_probes:
        for number, group in enumerate(groups):
            control.raise_if_cancelled("the choice of types was cancelled; nothing was kept")
            errors = {name: _errors(model, name, options[name]) for name in group}
            probes = {name: _probe(options[name]) for name in group}
            divergence = model.divergence({name: probe.ggml_type for name, probe in probes.items()})
            total = sum(errors[name][probe] for name, probe in probes.items())
            scale = divergence / total if total > 0 else 0.0
            for name in group:
                losses[name] = {c: max(scale, 0.0) * error for c, error in errors[name].items()}
            on_probes(number + 1, len(groups))
    return losses


def _errors(model: TrialModel, name: str, options: Sequence[Candidate]) -> dict[Candidate, float]:
    measured = model.errors(name, [candidate.ggml_type for candidate in options])
    return dict(zip(options, measured, strict=True))


def group_tensors(names: Sequence[str], max_groups: int) -> list[tuple[str, ...]]:
    """Group tensors of one kind in neighbouring layers: at most `max_groups` groups, or one for each kind."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(names, key=_layer):
        kinds.setdefault(kind_of(name), []).append(name)
    longest = max((len(some) for some in kinds.values()), default=1)
    size = 1
    while size < longest and sum(-(-len(some) // size) for some in kinds.values()) > max_groups:
        size += 1
    return [
        tuple(some[start : start + size]) for some in kinds.values() for start in range(0, len(some), size)
    ]


def _layer(name: str) -> int:
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _probe(options: Sequence[Candidate]) -> Candidate:
    """Return the candidate that is tried: about four bits, whose loss is well above rounding."""
    wanted = GGML_TYPES["Q4_K"]
    return next((c for c in options if c.ggml_type == wanted), options[len(options) // 2 - 1])
