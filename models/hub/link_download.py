"""A ready GGUF of the Hub as a model of the store, which lists it; the file stays in the Hub's cache."""

from __future__ import annotations

from models.gguf.info import read_gguf_info, require_model
from models.hub.download import DownloadPlan
from models.reference import ModelRef
from models.store.gguf_manifest import manifest_of
from models.store.manifest import ManifestFile, Source
from models.store.store import ModelStore, StoredModel


def link_download(plan: DownloadPlan, ref: ModelRef, store: ModelStore) -> StoredModel | None:
    """List the downloaded GGUF in the store; return None for a checkpoint, which is no model to serve yet.

    Raises InvalidGGUF for a file that must not be loaded, or is no model.
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
    return store.link(manifest_of(info, ref.name, source, file))
