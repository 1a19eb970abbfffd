"""`plan_gpu`: the layers that go to GPUs, and those of them whose experts stay on the host. Pure.

Of a mixture's bytes nearly all are its experts', and a token meets few of them: with those on the CPU and all
else on a GPU, a small GPU still has the attention and the KV cache of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from models.machine.fit import MIB, DeviceLike, MemoryEstimate

Count = int | Literal["auto"]
"""A number that was chosen, or is to be found."""


@dataclass(frozen=True)
class GpuPlan:
    """The share of GPUs in a model."""

    n_layers: int = 0
    """llama.cpp's `n_gpu_layers`: from the end, the output first, so all is the number of layers and one."""
    cpu_experts: tuple[int, ...] = ()
    """The layers among those whose experts stay in the host's memory, ascending."""
    fits: bool = True
    """Everything that was wanted on GPUs fits their free memory."""

    def has_all_of(self, other: GpuPlan) -> bool:
        """Return True if all that the other plan has on GPUs is there by this one, too."""
        return (
            self.n_layers >= other.n_layers
            and self.fits >= other.fits
            and set(self.cpu_experts) <= set(other.cpu_experts)
        )


def plan_gpu(
    needs: MemoryEstimate,
    devices: Sequence[DeviceLike],
    margin_bytes: int = 512 * MIB,
    *,
    n_layers: Count = "auto",
    n_cpu_experts: Count = "auto",
) -> GpuPlan:
    """Return the share of the GPUs, with `margin_bytes` left free on each; none without a GPU.

    `n_layers`: so many were chosen; auto: as many as fit. `n_cpu_experts`: the experts of so many layers,
    from the first, stay on the host; auto: of as few as let the layers fit, chosen for each GPU apart.
    Several GPUs share the layers in proportion to their free memory, as llama.cpp has it.
    """
    split = _Split(needs, tuple(_gpus(devices)), margin_bytes)
    if not split.gpus:
        return GpuPlan()
    all_ = len(split.pieces)
    wanted = all_ if n_layers == "auto" else min(n_layers, all_)
    least = 1 if n_layers == "auto" else wanted
    if any(split.budgets):
        for count in range(wanted, least - 1, -1):
            spared = split.spared(count, n_cpu_experts)
            if spared is not None:
                as_wanted = count == wanted and (n_cpu_experts != "auto" or not spared)
                return GpuPlan(count, spared, as_wanted)
    if n_layers == "auto":
        return GpuPlan(fits=False)
    return GpuPlan(wanted, split.experts_on_gpus(wanted, n_cpu_experts), wanted == 0)


def _gpus(devices: Sequence[DeviceLike]) -> list[DeviceLike]:
    """Return the GPUs; where there are only those that share the machine's memory, the first."""
    gpus = [device for device in devices if device.type == "gpu"]
    return gpus or [device for device in devices if device.type == "igpu"][:1]


@dataclass(frozen=True)
class _Split:  # no slots: it keeps what it has counted
    """A model in pieces, its layers and the output, and the GPUs that may hold them."""

    needs: MemoryEstimate
    gpus: tuple[DeviceLike, ...]
    margin_bytes: int

    @cached_property
    def pieces(self) -> list[int]:
        """The bytes of each layer with its KV cache, and at last of the output."""
        needs = self.needs
        layers = [w + kv for w, kv in zip(needs.layer_weights, needs.layer_kv, strict=True)]
        # Tied embeddings: the output matrix is the input's, copied to the device.
        return [*layers, needs.output_weights + (0 if _has_output_matrix(needs) else needs.input_weights)]

    @cached_property
    def budgets(self) -> list[int]:
        """The bytes that each GPU has for pieces."""
        return [max(gpu.memory_free - self.margin_bytes - self.needs.compute, 0) for gpu in self.gpus]

    def spared(self, n_layers: int, n_cpu_experts: Count) -> tuple[int, ...] | None:
        """Return the layers whose experts stay on the host so that the last `n_layers` pieces fit.

        None if they don't fit.
        """
        owned = self._owned(n_layers)
        spared = set(self.experts_on_gpus(n_layers, 0 if n_cpu_experts == "auto" else n_cpu_experts))
        loads = [
            sum(self.pieces[piece] - (self._experts(piece) if piece in spared else 0) for piece in own)
            for own in owned
        ]
        if not spared and _fit(loads, self.budgets):
            return ()
        # llama.cpp computes a large batch on the GPU all the same, and copies experts there, one tensor at
        # a time.
        rooms = [max(budget - self.needs.largest_experts, 0) for budget in self.budgets]
        if n_cpu_experts == "auto":
            for device, own in enumerate(owned):
                for piece in own:
                    if loads[device] > rooms[device] and self._experts(piece):
                        spared.add(piece)
                        loads[device] -= self._experts(piece)
        return tuple(sorted(spared)) if _fit(loads, rooms) else None

    def experts_on_gpus(self, n_layers: int, n_first: Count) -> tuple[int, ...]:
        """Return the layers with experts among the last `n_layers` pieces and the model's `n_first` layers.

        Auto: of all the model's.
        """
        first, n_all = len(self.pieces) - n_layers, self.needs.n_layer
        end = n_all if n_first == "auto" else min(n_first, n_all)
        return tuple(layer for layer in range(first, end) if self._experts(layer))

    def _experts(self, piece: int) -> int:
        """Return the bytes of the experts in a piece; the output has none."""
        return self.needs.layer_experts[piece] if piece < len(self.needs.layer_experts) else 0

    def _owned(self, n_layers: int) -> list[list[int]]:
        """Return the pieces that llama.cpp gives each GPU of the last `n_layers` ones."""
        first = len(self.pieces) - n_layers
        shares = _cumulative_shares([gpu.memory_free for gpu in self.gpus])
        owned: list[list[int]] = [[] for _ in self.gpus]
        for index in range(n_layers):
            device = next(number for number, share in enumerate(shares) if index / n_layers < share)
            owned[device].append(first + index)
        return owned


def _fit(loads: Sequence[int], rooms: Sequence[int]) -> bool:
    return all(load <= room for load, room in zip(loads, rooms, strict=True))


def _has_output_matrix(needs: MemoryEstimate) -> bool:
    """True unless all that stands beside the layers is small, a norm."""
    return needs.output_weights * 8 > needs.input_weights


def _cumulative_shares(free: Sequence[int]) -> list[float]:
    total, running, shares = sum(free), 0, []
    for amount in free:
        running += amount
        shares.append(running / total)
    shares[-1] = 1.0
    return shares
