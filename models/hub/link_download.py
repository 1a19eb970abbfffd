"""A ready GGUF of the Hub as a model of the store, which lists it; the file stays in the Hub's cache."""

from __future__ import annotations

import logging

import msgspec

from models.errors import InvalidGGUF
from models.gguf.info import GGUFInfo, read_gguf_info, require_model, require_projector_for
from models.gguf.projector import projector_type
from models.hub.download import DownloadPlan
from models.hub.files import gguf_type
from models.reference import ModelRef
from models.store.gguf_manifest import manifest_of
from models.store.manifest import ManifestFile, Source
from models.store.store import ModelStore, StoredModel

_log = logging.getLogger("corral.hub")


def link_download(plan: DownloadPlan, ref: ModelRef, store: ModelStore) -> StoredModel | None:
    """List the downloaded GGUF in the store; return None for a checkpoint, which is no model to serve yet.

    A projector that came with it is listed, too, if it is this model's and can be used; else the log says why
    not. Raises InvalidGGUF for a file that must not be loaded, or is no model.
    """
    if plan.kind != "gguf" or not plan.gguf_paths:
        return None
    info = read_gguf_info(plan.gguf_paths[0])
    require_model(info)
    type_ = plan.type or info.ftype
    if type_ is None:
        return None
    checksums = {str(plan.snapshot / file.path): file.file.sha256 for file in plan.files}
    source = Source(kind="hub", repo=plan.repo, revision=plan.commit, requested=ref.revision)
    file = ManifestFile(
        type=type_,
        names=tuple(map(str, plan.gguf_paths)),
        size_bytes=info.size_bytes,
        sha256=tuple(checksums.get(str(path)) or "" for path in plan.gguf_paths),
        bits_per_weight=info.bits_per_weight,
        tensor_count=len(info.tensors),
    )
    manifest = manifest_of(info, ref.name, source, file)
    projector = _projector(plan, info, checksums)
    return store.link(msgspec.structs.replace(manifest, projector=projector))


def _projector(plan: DownloadPlan, model: GGUFInfo, checksums: dict[str, str | None]) -> ManifestFile | None:
    path = plan.projector_path
    if path is None:
        return None
    try:
        info = read_gguf_info(path)
        require_projector_for(info, model)
    except InvalidGGUF as error:
        _log.warning("the projector is left out, so that the model reads text alone: %s", error.message)
        return None
    numbers = gguf_type(path.name) or info.ftype or "F16"
    return ManifestFile.single(
        projector_type(numbers),
        str(path),
        info.size_bytes,
        checksums.get(str(path)) or "",
        bits_per_weight=info.bits_per_weight,
        tensor_count=len(info.tensors),
    )
