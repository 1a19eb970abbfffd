"""`ModelFacts` and `FreeMemory`: what a placement is decided from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.machine.fit import DeviceLike, ModelFile
from models.pooling import Pooling

_RECURRENT = ("ssm.state_size", "ssm.conv_kernel", "shortconv.l_cache", "wkv.head_size", "kda.head_dim")
"""The hyper-parameters of layers with a state instead of a KV cache."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The files that a worker loads: the model's header, its adapters' bytes, its draft model's header.

    `drafts_itself`: a layer of the model's file drafts for it. `n_ctx_told`: clients were told this context,
    if any. `in_panels`: on a CPU our matrix kernels compute the most of the model, if they pass their check
    (`server.kernels.outlook`).
    """

    model: ModelFile
    adapter_bytes: int = 0
    draft: ModelFile | None = None
    projector_bytes: int = 0
    """The projector takes so much, working memory included; 0 without one."""
    drafts_itself: bool = False
    head_state_bytes: int = 0
    """A head sees so many bytes of what the model makes of a token; 0 where none drafts."""
    n_ctx_told: int | None = None
    in_panels: bool = False
    pooling: Pooling | None = None
    """The model makes vectors or scores in this way; None: it writes text."""

    @property
    def n_ctx_train(self) -> int | None:
        """The context in tokens that the model was trained for, if its header says."""
        return self.model.hyperparameter("context_length")

    @property
    def has_encoder(self) -> bool:
        """True for an encoder-decoder, whose requests have contexts of their own."""
        return self.model.hyperparameter("attention.relative_buckets_count") is not None

    @property
    def is_recurrent(self) -> bool:
        """True if layers have a state, which llama.cpp doesn't save in a form that another layout takes."""
        listed = self.model.per_layer("attention.recurrent_layers")
        return any(listed) or any(self.model.hyperparameter(key) for key in _RECURRENT)

    @property
    def forgets(self) -> bool:
        """True if a slot's memory isn't that of all its tokens: by a sliding window or a recurrent state."""
        return self.is_recurrent or bool(self.model.hyperparameter("attention.sliding_window"))

    @property
    def can_forget(self) -> bool:
        """True if layers with a sliding window may keep the cells of windows alone."""
        return any(self.model.window_layers) and not self.is_recurrent and not self.projector_bytes


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """The memory that a worker finds: bytes available on the host, and the devices with their free bytes."""

    available_bytes: int
    devices: Sequence[DeviceLike] = ()
