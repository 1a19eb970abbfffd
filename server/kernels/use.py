"""The use of the kernels for one model, by the setting `kernels`, and the report of what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from models.errors import ModelLoadError
from models.gguf.info import GGUFInfo
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from server.ipc.model_spec import KernelReport
from server.kernels.attention_check import KV_TYPES
from server.kernels.front import Kernels, kernels_of_process, leave_to_llama_cpp, take_again
from server.kernels.outlook import is_in_panels
from server.serve_options import ServeOptions

logger = logging.getLogger("corral.worker")


@dataclass(frozen=True)
class KernelChoice:
    """The kernels that a model is about to be loaded for; `report` counts from here."""

    kernels: Kernels
    n_matrices_before: int = 0
    is_asked_for: bool = False
    can_attend: bool = True
    """The settings leave attention one operation, on a cache of types with kernels."""

    def computes(self, info: GGUFInfo, *, experts_stay: bool) -> bool:
        """Return True if what of the model stays beside a GPU is to be computed with them.

        It is decoded the quicker for it, but a GPU can't fetch it then for the many tokens of a prompt: so by
        itself only a mixture's experts, of which a token meets few, where they are of types with kernels.
        """
        if self.kernels.library is None:
            return False
        return self.is_asked_for or (experts_stay and is_in_panels(info, self.kernels.type_names))

    def report(self) -> KernelReport:
        """Return what the model that has been loaded since is computed with.

        Raises ModelLoadError where `kernels` is on and nothing of it is computed with them.
        """
        kernels = self.kernels
        if kernels.library is None:
            return KernelReport(reason=kernels.reason)
        has_attention = kernels.has_attention and self.can_attend
        n_matrices = kernels.library.n_matrices - self.n_matrices_before
        if n_matrices == 0:
            names = ", ".join(kernels.type_names)
            reason = f"none of its matrices is in the CPU's memory and of a type with kernels ({names})"
            reason = "; ".join((reason, *kernels.faults, *kernels.losses))
            if self.is_asked_for:
                raise refusal(reason, kernels.fix)
            return KernelReport(reason=reason, has_attention=has_attention)
        return KernelReport(
            by="corral",
            has_attention=has_attention,
            instruction_set=kernels.set_name,
            types=kernels.type_names,
            n_matrices=n_matrices,
        )


def choose_kernels(
    options: ServeOptions,
    *,
    is_all_on_gpu: bool,
    death: str | None = None,
    opened: Callable[[], Kernels] = kernels_of_process,
) -> KernelChoice:
    """Prepare the next load of a model.

    The first load of a process settles where llama.cpp puts weights, so the choice comes before it. `death`
    is that of a worker which speaks against the kernels. Raises ModelLoadError where `kernels` is on and they
    can't be used.
    """
    kernels = _unused(options, death, is_all_on_gpu=is_all_on_gpu) or opened()
    if kernels.library is None:
        if options.kernels == "on":
            raise refusal(kernels.reason, kernels.fix)
        leave_to_llama_cpp()
        if kernels.fix:  # what the user chose needs no line
            logger.info("llama.cpp's own kernels are used: %s; %s", kernels.reason, kernels.fix)
        return KernelChoice(kernels)
    for fault in kernels.faults:
        logger.warning("matrix kernels (%s): %s", kernels.set_name, fault)
    for loss in kernels.losses:
        logger.info("matrix kernels (%s): %s", kernels.set_name, loss)
    take_again(kernels)
    return KernelChoice(
        kernels,
        kernels.library.n_matrices,
        is_asked_for=options.kernels == "on",
        can_attend=_can_attend(options),
    )


def _can_attend(options: ServeOptions) -> bool:
    """Return True if attention by these settings is of a kind that has kernels."""
    types = (GGML_TYPES[one.upper()] for one in (options.type_k, options.type_v))
    return options.flash_attn != "off" and all(one in KV_TYPES for one in types)


def refusal(reason: str, fix: str) -> ModelLoadError:
    """Return the error of a model that isn't loaded without the kernels; `fix` may be empty."""
    return ModelLoadError(f"kernels is on, but {reason}; {fix}{', or ' if fix else ''}set kernels to auto")


def _unused(options: ServeOptions, death: str | None, *, is_all_on_gpu: bool) -> Kernels | None:
    """Return the reason not even to open them, if there is one."""
    if death is not None:
        return Kernels(reason=f"with Corral's {death}")
    if options.kernels == "off":
        return Kernels(reason="kernels is off")
    if not options.use_extra_bufts:
        return Kernels(reason="use_extra_bufts is off, which means these, too")
    if is_all_on_gpu:
        return Kernels(reason="all layers are on the GPU")
    return None
