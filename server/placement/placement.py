"""`Placement`: the sizes with which a model is served, and what each part takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.machine.fit import MemoryEstimate, Verdict

Layout = Literal["streams", "unified", "by_need"]
"""The ways to divide the KV cells among requests: `streams`, each has as many; `unified`, all share all; or
the one until a request is longer than a stream, and then the other."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The sizes with which a model is served, and the bytes that each part takes at most."""

    n_ctx: int
    """The context of one request has this many tokens."""
    n_ctx_wanted: int
    """It would have at least this many if memory didn't matter."""
    n_cells: int
    """The KV cache has this many cells, those of all requests together."""
    n_stream: int
    """A request has this many cells while all have as many."""
    layout: Layout
    """The cells are divided so."""
    swa_full: bool
    """Layers with a sliding window have as many cells as others; False: only for windows."""
    gpu_layers: int
    """llama.cpp puts this many layers on GPUs, counted from the end, the output first; 0 without a GPU."""
    gpu_layers_fit: bool
    """True if all that was wanted there, on auto all of the model, fits the GPUs' free memory."""
    cpu_experts: tuple[int, ...]
    """The layers on GPUs whose experts stay in the host's memory, where they are computed, too."""
    model: MemoryEstimate
    """The model's weights, KV cache and working memory take these bytes."""
    adapters: int
    """The LoRA adapters take this many bytes."""
    draft: int
    """The draft model takes this many bytes, its KV cache for as many tokens included; 0 without one."""
    projector: int
    """The projector takes this many bytes, its working memory included; 0 without one."""
    prompt_side: int
    """The prompt side takes this many bytes: a KV cache, working memory, and the state that moves over to the
    main context. 0 if the worker opens none."""
    checkpoints: int
    """The states to which slots go back take at most this many bytes; 0 where slots can be cut back."""
    verdict: Verdict
    """The host's memory takes the model, the adapters and the draft model at `n_ctx`, or it doesn't."""
    wanted_verdict: Verdict
    """The same at `n_ctx_wanted`."""
    is_split: bool = False
    """The layers for GPUs go to servers of other machines, and the output matrix stays here."""

    @property
    def fits_as_wanted(self) -> bool:
        """True if nothing has to be reduced: neither the context nor the layers on GPUs."""
        return self.wanted_verdict.fits and self.gpu_layers_fit

    @property
    def has_all(self) -> bool:
        """True if nothing has to be reduced, and all requests have cells for their whole context."""
        return self.fits_as_wanted and self.n_ctx >= self.n_ctx_wanted and self.n_stream >= self.n_ctx

    @property
    def worth(self) -> tuple[bool, bool, int, int, int]:
        """The greater it is, the better is the placement beside others of the same model."""
        return (self.verdict.fits, self.gpu_layers_fit, self.gpu_layers, self.n_ctx, self.n_cells)

    @property
    def is_all_on_gpu(self) -> bool:
        """True if GPUs hold all layers, their experts and the output."""
        return self.gpu_layers > self.model.n_layer and not self.cpu_experts and not self.is_split

    @property
    def extra(self) -> int:
        """Bytes beside the model's own."""
        return self.adapters + self.draft + self.projector + self.prompt_side + self.checkpoints

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes that a token takes in the KV cache; a recurrent state is divided among its cells."""
        return self.model.kv / self.n_cells
