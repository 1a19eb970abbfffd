"""`ModelSpec`, with which a worker is started, and `ModelInfo`, its answer once the model is loaded."""

from __future__ import annotations

from typing import Literal

import msgspec

from models.pooling import Pooling
from server.engine.sampling_params import SamplingParams
from server.serve_options import ServeOptions


class AdapterSpec(msgspec.Struct, frozen=True):
    """A LoRA adapter's GGUF file, and the id by which requests ask for it: never used for another one."""

    id: int
    path: str


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of a worker's start, which the next one for the same file need not make again."""

    step_times: tuple[tuple[int, float], ...] = ()
    """Steps of so many tokens took so many seconds."""
    prompt_side: bool = False
    """True if prompts are computed on weights of their own."""


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame to a worker: which files to load, and the settings to serve them with."""

    name: str
    path: str
    options: ServeOptions = ServeOptions()
    draft_path: str | None = None
    """The file of the draft model that `options.draft` names; None where this model is served without."""
    projector_path: str | None = None
    """The file of the projector with which the model sees images; None where it is served without."""
    prefix_folder: str | None = None
    """The folder where prefixes are kept over restarts; None: they are kept nowhere."""
    adapters: tuple[AdapterSpec, ...] = ()
    """The LoRA adapters to be ready from the start."""
    n_ctx_told: int | None = None
    """Clients were told this context; where the user chose none, the worker chooses no longer one."""
    findings: Findings | None = None
    """An earlier worker's findings; None: the worker measures itself."""
    kernels_death: str | None = None
    """A worker died so while it loaded the model, and now Corral's matrix kernels are left out."""


class KernelReport(msgspec.Struct, frozen=True, kw_only=True):
    """The matrix kernels that a loaded model is computed with."""

    by: Literal["corral", "llama.cpp"] = "llama.cpp"
    """Whose they are. Corral's compute the matrices of some types, llama.cpp's all others."""
    instruction_set: str | None = None
    types: tuple[str, ...] = ()
    """The types with kernels of Corral's here."""
    n_matrices: int = 0
    """Corral's compute so many of the model's matrices."""
    has_attention: bool = False
    """Corral's compute attention, too, where flash attention is on and not on a GPU."""
    reason: str | None = None
    """The reason for llama.cpp's."""

    @property
    def text(self) -> str:
        """The report for people."""
        attention = ", and attention" if self.has_attention else ""
        if self.by == "corral":
            return f"Corral's for {self.instruction_set}, {self.n_matrices} matrices{attention}"
        if attention:
            return f"llama.cpp's ({self.reason}), but Corral's for attention"
        return f"llama.cpp's ({self.reason})" if self.reason else "llama.cpp's"


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that are known once the model is loaded."""

    n_vocab: int
    n_ctx: int
    """Context of one request, in tokens."""
    n_ctx_train: int
    n_embd: int
    n_params: int
    size_bytes: int
    n_parallel: int
    n_gpu_layers: int
    servers: tuple[str, ...] = ()
    """The layers on GPUs are those of servers of other machines, at these addresses."""
    n_cpu_expert_layers: int = 0
    """The experts of so many layers on GPUs are in the host's memory."""
    cpu_expert_bytes: int = 0
    """They take so many bytes there."""
    description: str
    ftype: str
    prompt_format: str
    """The built-in format in use, or "template" for the GGUF's own Jinja."""
    bos_token: str | None = None
    eos_token: str | None = None
    chat_template: str | None = None
    kernels: KernelReport = KernelReport()
    pooling: Pooling | None = None
    """The way in which a text becomes a vector or scores; None: the model writes text."""
    path: str | None = None
    """The model's file."""
    sees_images: bool = False
    """True if it is served with a projector."""
    findings: Findings | None = None
    """The findings of the start; None: there are none that a next worker could use."""
    sampling: SamplingParams = SamplingParams()
    """The sampling parameters of requests that leave them open."""
