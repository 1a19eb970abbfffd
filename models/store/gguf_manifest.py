"""`manifest_of`: the manifest of a model that is one ready GGUF, from what its header says."""

from __future__ import annotations

from datetime import UTC, datetime

from models.gguf.info import GGUFInfo
from models.store.manifest import Manifest, ManifestFile, Source
from models.version import VERSION


def manifest_of(info: GGUFInfo, name: str, source: Source, file: ManifestFile) -> Manifest:
    """Return the manifest of `file`, which has the header `info`, made now."""
    return Manifest(
        name=name,
        source=source,
        files=(file,),
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        tools={"corral": VERSION},
        architecture=info.architecture,
        parameters=info.n_params,
        context_length=info.n_ctx_train,
    )
