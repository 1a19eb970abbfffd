"""The settings that are worth trying on this machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from server.ipc.launch import SPIN_COUNT
from server.tuning.settings import Settings, Value, value_of

N_UBATCH = (64, 128, 256, 512, 1024)
N_UBATCH_GPU = (256, 512, 1024, 2048)
SPIN_COUNTS = (0, 1_000, SPIN_COUNT, 20_000, 100_000)
"""Threads spin for one of these numbers of turns, never without end: that would keep cores busy when there
is nothing to do at all."""
KV_TYPES = ("f16", "q8_0")


@dataclass(frozen=True, slots=True)
class Site:
    """The facts that the space depends on. `cores` and `threads` are the usable physical and logical ones."""

    cores: int
    threads: int
    openmp: bool
    gpu: bool


@dataclass(frozen=True, slots=True)
class Dimension:
    """The values of one field of Settings. Their order means something if `ordered`."""

    name: str
    values: tuple[Value, ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """All settings that may be tried. `notes` say what is not searched here, and why."""

    dimensions: tuple[Dimension, ...]
    defaults: Settings
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """The number of different settings."""
        product = 1
        for dimension in self.dimensions:
            product *= len(dimension.values)
        return product

    def changes(self) -> list[tuple[str, Value]]:
        """Return every value that is not the default, dimension by dimension."""
        return [
            (dimension.name, value)
            for dimension in self.dimensions
            for value in dimension.values
            if value != value_of(self.defaults, dimension.name)
        ]


def space_for(site: Site, *, allow_kv_quant: bool = False) -> Space:
    """Return the space of `site`: dimensions with one value are left out, the most promising come first."""
    threads = thread_counts(site.cores, site.threads)
    spins: tuple[Value, ...] = SPIN_COUNTS if site.openmp and threads[-1] > 1 else (SPIN_COUNT,)
    dimensions = (
        Dimension("use_extra_bufts", (True, False)),
        Dimension("kernels", ("auto", "off")),
        Dimension("spin_count", spins, ordered=True),
        Dimension("threads", threads, ordered=True),
        Dimension("kv_unified", (False, True)),
        Dimension("n_ubatch", N_UBATCH_GPU if site.gpu else N_UBATCH, ordered=True),
        Dimension("threads_batch", threads, ordered=True),
        Dimension("flash_attn", ("auto", "off")),
        Dimension("kv_type", KV_TYPES if allow_kv_quant else KV_TYPES[:1]),
    )
    return Space(
        dimensions=tuple(dimension for dimension in dimensions if len(dimension.values) > 1),
        defaults=Settings(threads=site.cores, threads_batch=site.cores),
        notes=tuple(_notes(site, allow_kv_quant=allow_kv_quant)),
    )


def thread_counts(cores: int, threads: int) -> tuple[int, ...]:
    """Return parts of the physical cores, all but one, all, and every logical one; ascending."""
    parts = {cores // 4, cores // 2, cores * 3 // 4, cores - 1, cores, threads}
    return tuple(sorted(count for count in parts if count >= 1))


def _notes(site: Site, *, allow_kv_quant: bool) -> list[str]:
    pool = (
        "this build of llama.cpp runs its threads through OpenMP and has no other pool to compare with"
        if site.openmp
        else "this build of llama.cpp has its own thread pool and no OpenMP: there is no spin to choose"
    )
    notes = [
        pool,
        "n_batch is left alone: the engine never fills a call beyond n_ubatch or its prefill chunk",
    ]
    if not allow_kv_quant:
        notes.append("a quantized KV cache changes answers: measured for the report only (--allow-kv-quant)")
    return notes
