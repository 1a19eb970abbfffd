"""`read_facts`: the facts about a model's files that `server.placement` needs, in every process."""

from __future__ import annotations

from pathlib import Path

from models.gguf.draft_head import has_further_layer
from models.gguf.head_rules import N_TARGET_LAYERS
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.pooling import pooling_of
from server.ipc.model_spec import ModelSpec
from server.kernels.outlook import expects_panels
from server.placement.facts import ModelFacts

PROJECTOR_WORK_BYTES = 256 << 20
"""An image that is encoded takes about so much: activations of a vision tower, and the pixels before it."""


def drafts_itself(spec: ModelSpec, info: GGUFInfo) -> bool:
    """Return True if a model is to draft with a layer of its own file (MTP). One that sees images isn't."""
    is_free = spec.draft_path is None and spec.projector_path is None
    return spec.options.speculate == "auto" and is_free and has_further_layer(info)


def read_facts(spec: ModelSpec, info: GGUFInfo) -> ModelFacts:
    """The facts about the files of `spec`, whose model has the header `info`.

    An adapter whose file is gone counts nothing: loading it says so. Raises InvalidGGUF for the draft model's
    file.
    """
    draft = None if spec.draft_path is None else read_gguf_info(Path(spec.draft_path))
    adapters = [Path(adapter.path) for adapter in spec.adapters]
    return ModelFacts(
        model=info,
        adapter_bytes=sum(path.stat().st_size for path in adapters if path.is_file()),
        draft=draft,
        projector_bytes=_projector_bytes(spec),
        drafts_itself=drafts_itself(spec, info),
        head_state_bytes=_head_state_bytes(spec, info, draft),
        n_ctx_told=spec.n_ctx_told,
        in_panels=expects_panels(info, spec.options),
        pooling=pooling_of(info, spec.options.pooling),
    )


def _projector_bytes(spec: ModelSpec) -> int:
    """Return what a projector takes: its weights, and the working memory for an image; 0 without one."""
    path = None if spec.projector_path is None else Path(spec.projector_path)
    return path.stat().st_size + PROJECTOR_WORK_BYTES if path is not None and path.is_file() else 0


def _head_state_bytes(spec: ModelSpec, info: GGUFInfo, draft: GGUFInfo | None) -> int:
    """Return the bytes of the states that a head sees of one token: of three layers, or of the last."""
    if draft is not None:
        return 4 * N_TARGET_LAYERS * (draft.hyperparameter("target_hidden_size") or 0)
    return 4 * (info.n_embd or 0) if drafts_itself(spec, info) else 0
